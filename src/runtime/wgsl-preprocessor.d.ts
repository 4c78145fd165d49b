/** The package ships no types and no entry point; only this subpath resolves. */
declare module "wgsl-preprocessor/wgsl-preprocessor.js" {
  export function wgsl(strings: TemplateStringsArray, ...values: (string | number | boolean)[]): string;
}
