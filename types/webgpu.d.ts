// TypeScript 5 has WebGPU's types in a package; the built declarations refer to this file by the package's name.
/// <reference types="@webgpu/types" />
