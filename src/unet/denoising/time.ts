/** What these networks read of a timestep. */
import type { TimeEmbedding } from "../spec.ts";

const TURN = 2 * Math.PI;

/** The timestep itself, then sines and cosines of frequencies in the checkpoint (RandomOrLearnedSinusoidalPosEmb). */
function fourierFeatures(t: number, frequencies: Float32Array): number[] {
  const angles = Array.from(frequencies, (frequency) => TURN * frequency * t);
  return [t, ...angles.map(Math.sin), ...angles.map(Math.cos)];
}

/** @param frequencies learned ones; 0: there are none */
export function timeInputs(
  dim: number,
  frequencies: number,
  theta: number,
): Pick<TimeEmbedding, "type" | "inputs" | "vector" | "theta"> {
  if (frequencies > 0)
    return {
      type: "fourier",
      inputs: 2 * frequencies + 1,
      vector: (t, table) => fourierFeatures(t, table as Float32Array),
    };
  return { type: "positional", inputs: dim, theta };
}
