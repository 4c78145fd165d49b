// `npm run build`: makes dist/, as it is published, from the sources.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "tsdown";
import config from "../tsdown.config.mjs";
import { finishScripts } from "./maps.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

// Not by the configuration's name: tsdown would look for its own packages in the folder that this is called from.
await build({ ...config, config: false, cwd: ROOT, logLevel: "error" });
finishScripts(join(ROOT, "dist"));
