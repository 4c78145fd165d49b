/**
 * Records that the host packs and kernels read: one definition gives the WGSL, the bytes and the table in the docs. Offsets
 * are WGSL's (section "Alignment and Size"); a record takes whole 16 bytes, so that uniforms and arrays agree.
 */

/** A flag is a u32, 0 or 1. */
interface Types {
  f32: number;
  u32: number;
  flag: boolean;
  vec3f: readonly number[];
  vec4f: readonly number[];
}
type Type = keyof Types;

/** A record in place of a type is an array of them that has no fixed length: the last field. */
export type Field = readonly [type: Type | Struct, unit: string, meaning: string];
export type Fields = Readonly<Record<string, Field>>;

type ValueOf<T> = T extends Type ? Types[T] : T extends Struct<infer F> ? readonly RecordOf<F>[] : never;
/** What is left out is 0. */
export type RecordOf<F extends Fields> = { readonly [K in keyof F]?: ValueOf<F[K][0]> };

const SIZES: Readonly<Record<Type, readonly [words: number, align: number]>> = {
  f32: [1, 1],
  u32: [1, 1],
  flag: [1, 1],
  vec3f: [3, 4],
  vec4f: [4, 4],
};

const aligned = (words: number, to: number): number => Math.ceil(words / to) * to;

export class Struct<F extends Fields = Fields> {
  /** Words before each field. */
  readonly #at: Readonly<Record<string, number>>;
  /** Bytes of one record; of one that ends in an array, of what precedes it. */
  readonly size: number;

  constructor(
    readonly name: string,
    readonly fields: F,
  ) {
    const at: Record<string, number> = {};
    let words = 0;
    for (const [field, [type]] of Object.entries(fields)) {
      const [size, align] = type instanceof Struct ? [0, 4] : SIZES[type];
      at[field] = aligned(words, align);
      words = at[field] + size;
    }
    this.#at = at;
    this.size = 4 * aligned(words, 4);
  }

  /** The last field, where it is an array. */
  get #list(): { name: string; record: Struct } | undefined {
    const [name, [type]] = Object.entries(this.fields).at(-1) as [string, Field];
    return type instanceof Struct ? { name, record: type } : undefined;
  }

  /** Type of a storage buffer of these records. */
  get array(): string {
    return this.#list ? this.name : `array<${this.name}>`;
  }

  /**
   * `${tensor}_at(i)`: record i of an `array<vec4u>`. Field by field, a buffer of the records themselves would be read in
   * words, which makes a step of the sampler a tenth slower on software adapters.
   */
  reader(tensor: string): string {
    const vectors = this.size / 16;
    const reads = Array.from({ length: vectors }, (_, j) => `let v${j} = ${tensor}[i * ${vectors}u + ${j}u];`);
    const values = Object.entries(this.fields).map(([name, [type]]) => {
      const [words, at] = [SIZES[type as Type][0], this.#at[name] as number];
      const read = `v${at >> 2}.${"xyzw".slice(at & 3, (at & 3) + words)}`;
      return type === "u32" || type === "flag" ? read : `bitcast<${type as Type}>(${read})`;
    });
    return `fn ${tensor}_at(i: u32) -> ${this.name} { ${reads.join(" ")} return ${this.name}(${values.join(", ")}); }`;
  }

  /** Whether it ends in an array. */
  get isOpen(): boolean {
    return this.#list !== undefined;
  }

  /** Declarations, those of inner records first. */
  get wgsl(): string {
    const last = Object.keys(this.fields).at(-1);
    const fields = Object.entries(this.fields).map(([name, [type]]) => {
      // wgpu's compiler (Deno) does not align a record as its first field, and has to be told where they stand and how long they are.
      if (type instanceof Struct) return `@align(16) ${name}: ${type.array}`;
      const size = name === last ? `@size(${this.size - 4 * (this.#at[name] as number)}) ` : "";
      return `${size}${name}: ${type.replace("flag", "u32")}`;
    });
    const inner = this.#list ? `${this.#list.record.wgsl}\n` : "";
    return `${inner}struct ${this.name} { @align(16) ${fields.join(", ")} }`;
  }

  /** Bytes before a field. */
  offset(field: keyof F & string): number {
    return 4 * (this.#at[field] as number);
  }

  /** The bytes of consecutive records; a record that ends in an array is alone. */
  pack(records: readonly RecordOf<F>[]): Uint32Array<ArrayBuffer> {
    const stride = this.size / 4;
    const list = this.#list;
    const inner = list?.record.pack(records.flatMap((record) => (record[list.name] as readonly object[]) ?? []));
    const words = new Uint32Array(stride * records.length + (inner?.length ?? 0));
    const floats = new Float32Array(words.buffer);
    if (inner) words.set(inner, stride);
    for (const [i, record] of records.entries())
      for (const [name, [type]] of Object.entries(this.fields)) {
        const at = i * stride + (this.#at[name] as number);
        const value = (record as Readonly<Record<string, unknown>>)[name] ?? 0;
        if (type === "u32" || type === "flag") words[at] = Number(value);
        else if (type === "f32") floats[at] = value as number;
        else if (!(type instanceof Struct) && value) floats.set(value as readonly number[], at);
      }
    return words;
  }

  /** A table of the fields. */
  get markdown(): string {
    const lines = Object.entries(this.fields).map(([name, [type, unit, meaning]]) => {
      return `| \`${name}\` | ${type instanceof Struct ? type.array : type} | ${unit} | ${meaning} |`;
    });
    return ["| field | type | unit | |", "| --- | --- | --- | --- |", ...lines].join("\n");
  }
}
