/** What works on latents, loaded with the first model that has an autoencoder. */
export { Autoencoder } from "../autoencoder/autoencoder.ts";
export { decodeLatents } from "./decoding.ts";
export { encodeImages } from "./encoding.ts";
export { LatentPreview } from "./latentPreview.ts";
export { RunDecoder } from "./runDecoder.ts";
