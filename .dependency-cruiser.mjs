// Imports of src/ go downwards only, and nowhere in a circle. Each folder names what it may import besides itself and packages.
const MAY_IMPORT = {
  cli: ["node", "pipeline", "sampler", "unet", "autoencoder", "network", "kernels", "weights", "image", "runtime"],
  node: ["pipeline", "autoencoder", "runtime", "weights", "image"],
  pipeline: ["sampler", "unet", "autoencoder", "network", "kernels", "weights", "image", "runtime"],
  sampler: ["network", "kernels", "runtime"],
  unet: ["network", "kernels", "weights", "runtime"],
  autoencoder: ["network", "kernels", "weights", "runtime"],
  network: ["kernels", "weights", "runtime"],
  kernels: ["runtime"],
  weights: [],
  image: [],
  runtime: [],
};
const NODE_ONLY = "^src/(cli|node)/";

const directions = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  name: `${folder}-imports-only-downwards`,
  severity: "error",
  from: { path: `^src/${folder}/` },
  // Errors, how their messages are written and the check of options need nothing else and are everybody's.
  to: {
    path: "^src/",
    pathNot: `^src/(${[folder, ...allowed].join("|")})/|^src/runtime/(errors|printable|options)\\.ts$|^src/index\\.ts$`,
  },
}));

export default {
  forbidden: [
    ...directions,
    {
      name: "entry-point-is-not-imported-from-below",
      severity: "error",
      from: { path: "^src/(pipeline|sampler|unet|autoencoder|network|kernels|weights|image|runtime)/" },
      to: { path: "^src/index\\.ts$" },
    },
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    { name: "no-unresolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
    {
      name: "core-runs-in-browsers",
      comment: "only src/cli and src/node may use Node's modules and the packages that serve Node",
      severity: "error",
      from: { path: "^src/", pathNot: NODE_ONLY },
      to: {
        dependencyTypes: ["core", "npm-optional", "npm-peer", "npm-dev", "npm-no-pkg", "npm-unknown"],
        pathNot: "/wgsl-preprocessor/",
      },
    },
    {
      name: "no-development-package-in-the-product",
      severity: "error",
      from: { path: "^src/" },
      // The preprocessor is built in, so that nobody has to install it.
      to: {
        dependencyTypes: ["npm-dev"],
        dependencyTypesNot: ["type-only", "npm-peer"],
        pathNot: "/wgsl-preprocessor/",
      },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "default"] },
  },
};
