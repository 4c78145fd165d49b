// A job of the benchmarks on onnxruntime, in Node and in browsers alike (bench/harness/protocol.ts has the words).

/**
 * Every tensor of a safetensors file.
 * @param {typeof import("onnxruntime-node")} ort
 * @param {Uint8Array} file
 * @returns {Record<string, import("onnxruntime-node").Tensor>}
 */
function readTensors(ort, file) {
  const headerBytes = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)));
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const bytes = Uint8Array.from(file.subarray(8 + headerBytes + from, 8 + headerBytes + to)).buffer;
        const tensor =
          dtype === "I64"
            ? new ort.Tensor("int64", new BigInt64Array(bytes), shape)
            : new ort.Tensor("float32", new Float32Array(bytes), shape);
        return [name, tensor];
      },
    ),
  );
}

/**
 * @param {typeof import("onnxruntime-node")} ort
 * @param {import("onnxruntime-node").InferenceSession.SessionOptions} options
 * @param {any} model a path, or the bytes of a file
 * @param {Uint8Array} inputs bytes of a safetensors file
 * @param {any} job
 */
export async function openSession(ort, options, model, inputs, job) {
  const session = await ort.InferenceSession.create(model, options);
  const tensors = readTensors(ort, inputs);
  const feeds = Object.fromEntries(
    session.inputNames.map((name) => {
      const tensor = tensors[name];
      if (!tensor) throw new Error(`the inputs have no ${name}`);
      return [name, tensor];
    }),
  );

  /** @returns {Promise<Float32Array>} */
  async function evaluate() {
    const results = await session.run(feeds);
    return /** @type {Float32Array} */ (results[session.outputNames[0] ?? ""]?.data);
  }

  /** DDIM with eta 0 on the host, as a good user of onnxruntime would write it. */
  async function sample() {
    const { steps, prediction, clip } = job.loop;
    const { sample: noise, timestep } = tensors;
    if (!noise || !timestep) throw new Error("the inputs have no sample or no timestep");
    const x = Float32Array.from(/** @type {Float32Array} */ (noise.data));
    feeds.sample = new ort.Tensor("float32", x, noise.dims);
    for (const { t, alpha, alphaPrev } of steps) {
      feeds.timestep = new ort.Tensor("int64", new BigInt64Array(timestep.size).fill(BigInt(t)), timestep.dims);
      const output = await evaluate();
      const [a = 0, s = 0, ap = 0, sp = 0] = [alpha, 1 - alpha, alphaPrev, 1 - alphaPrev].map((v) => Math.sqrt(v));
      for (let i = 0; i < x.length; i++) {
        const [xi = 0, o = 0] = [x[i], output[i]];
        let x0 = prediction === "epsilon" ? (xi - s * o) / a : prediction === "sample" ? o : a * xi - s * o;
        if (clip !== null) x0 = Math.min(clip, Math.max(-clip, x0));
        x[i] = ap * x0 + sp * ((xi - a * x0) / s);
      }
    }
    return x;
  }

  const work = job.kind === "sampler" ? sample : evaluate;
  return {
    /** @param {number} times */
    async run(times) {
      const start = performance.now();
      for (let i = 0; i < times; i++) await work();
      return (performance.now() - start) / times;
    },
    output: work,
    close: () => session.release(),
  };
}
