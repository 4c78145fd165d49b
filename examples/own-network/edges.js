/** `npm start`: finds the edges of a disc by a network of two layers, made here from kernels and a few numbers. */
import { compileGraph, Graph, targetFor } from "ddim-webgpu/kernels";
import { openNodeDevice } from "ddim-webgpu/node";

const SIZE = 16;
const device = await openNodeDevice();

// Sobel's filters to the right, left, down and up; what is brighter there passes, and the four are added.
const right = [-1, 0, 1, -2, 0, 2, -1, 0, 1];
const down = [-1, -2, -1, 0, 0, 0, 1, 2, 1];
const params = {
  "sobel.weight": new Float32Array([right, right.map((w) => -w), down, down.map((w) => -w)].flat()),
  "sum.weight": new Float32Array([1, 1, 1, 1]),
  "sum.bias": new Float32Array([-1]),
};

const graph = new Graph("f32", targetFor(device).storage);
const image = graph.input("image", [SIZE, SIZE, 1]);
const sobel = { weight: { name: "sobel.weight", shape: [4, 1, 3, 3] }, segments: [4] };
const sum = {
  weight: { name: "sum.weight", shape: [1, 4, 1, 1] },
  bias: { name: "sum.bias", shape: [1] },
  segments: [1],
};
const sides = graph.conv2d("sobel", image, [sobel], { kernel: [3, 3], pad: [1, 1, 1, 1] });
graph.output(graph.conv2d("edges", graph.activation("sobel", sides, "relu"), [sum]));

const network = await compileGraph(device, graph, params);
const disc = Float32Array.from({ length: SIZE * SIZE }, (_, i) =>
  Math.hypot((i % SIZE) - 7.5, Math.floor(i / SIZE) - 7.5) < 5 ? 1 : 0,
);
const { edges } = await network.run({ image: disc });
for (let y = 0; y < SIZE; y++)
  process.stdout.write(
    `${Array.from(edges.subarray(y * SIZE, (y + 1) * SIZE), (v) => (v > 0 ? "#" : ".")).join("")}\n`,
  );
network.dispose();
device.dispose();
