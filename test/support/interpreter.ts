/** Evaluates a graph node by node in f64 with the oracles: what fusion and lowering must not change. */
import type { EmbRef, Graph, Node } from "../../src/runtime/graph.ts";
import { channelPositions, type Value } from "../../src/runtime/values.ts";
import { activation } from "../reference/activations.ts";
import { attention } from "../reference/attention.ts";
import { avgPool2 } from "../reference/avgPool2.ts";
import { codebook } from "../reference/codebook.ts";
import { concat } from "../reference/concat.ts";
import { conv2d } from "../reference/conv2d.ts";
import { crop } from "../reference/crop.ts";
import { geglu } from "../reference/geglu.ts";
import { groupNorm } from "../reference/groupNorm.ts";
import { layerNorm } from "../reference/layerNorm.ts";
import { dim, type RefTensor, tensor } from "../reference/tensor.ts";
import { upsample } from "../reference/upsample.ts";

/** `count` columns of a tensor's last axis from `first` on, as [N, rows, count]. */
function columns(t: RefTensor, first: number, count: number): RefTensor {
  const width = t.shape.at(-1) as number;
  const rows = t.data.length / width;
  const n = dim(t, 0);
  return tensor([n, rows / n, count], (i) => t.data[Math.floor(i / count) * width + first + (i % count)] as number);
}

/** Channel that is stored at the beginning of a vec4 group. */
const channelAt = (value: Value, group: number): number => channelPositions(value.segments).indexOf(group * 4);

export function interpret(
  graph: Graph,
  inputs: ReadonlyMap<Value, RefTensor>,
  params: Readonly<Record<string, RefTensor>>,
): Map<Value, RefTensor> {
  const known = new Map(inputs);
  const of = (value: Value): RefTensor => {
    const found = known.get(value);
    if (!found) throw new Error(`${value.name} is used before it is computed`);
    return found;
  };
  const param = (name: string): RefTensor => params[name] as RefTensor;
  const embedding = ({ table, group }: EmbRef, count: number): RefTensor => {
    const rows = columns(of(table), channelAt(table, group), count);
    return tensor([dim(rows, 0), count], rows.data);
  };

  const compute = (node: Node): RefTensor => {
    switch (node.op) {
      case "conv2d": {
        const { x, weights, kernel, stride, pad, y } = node;
        const joined = weights.flatMap(({ weight }) => [...param(weight.name).data]);
        const bias = weights.flatMap(({ weight, bias }) =>
          bias ? [...param(bias.name).data] : Array.from({ length: weight.shape[0] as number }, () => 0),
        );
        const outputs = y.shape[2] as number;
        const weight = tensor([outputs, x.shape[2] as number, ...kernel], joined);
        return conv2d({ x: of(x), weight, bias: tensor([outputs], bias), stride, pad });
      }
      case "groupNorm": {
        const { x, gamma, beta, groups, eps, emb } = node;
        const c = x.shape[2] as number;
        const row = emb && embedding(emb, 2 * c);
        return groupNorm({ x: of(x), gamma: param(gamma.name), beta: param(beta.name), groups, eps, emb: row });
      }
      case "activation":
        return activation(of(node.x), node.act);
      case "concat":
        return concat(of(node.a), of(node.b));
      case "upsample": {
        const [h = 0, w = 0] = node.y.shape;
        return crop(upsample(of(node.x)), h, w);
      }
      case "avgPool":
        return avgPool2(of(node.x));
      case "scaleShift": {
        const x = of(node.x);
        return tensor(x.shape, (i) => (x.data[i] as number) * node.scale + node.shift);
      }
      case "add": {
        const [a, b] = [of(node.a), of(node.b)];
        return tensor(a.shape, (i) => ((a.data[i] as number) + (b.data[i] as number)) * node.scale);
      }
      case "addEmb": {
        const x = of(node.x);
        const [c, perImage] = [dim(x, 3), x.data.length / dim(x, 0)];
        const row = embedding(node.emb, c).data;
        return tensor(x.shape, (i) => (x.data[i] as number) + (row[Math.floor(i / perImage) * c + (i % c)] as number));
      }
      case "layerNorm": {
        const { x, gamma, beta, eps } = node;
        return layerNorm({ x: of(x), gamma: param(gamma.name), beta: param(beta.name), eps });
      }
      case "geglu":
        return geglu(of(node.x));
      case "attention": {
        const { q, kv, heads, headDim, kGroup, vGroup, y } = node;
        const part = (value: Value, group: number) => columns(of(value), channelAt(value, group), heads * headDim);
        const out = attention({ q: part(q, 0), k: part(kv, kGroup), v: part(kv, vGroup), heads });
        return tensor([dim(out, 0), ...y.shape], out.data);
      }
      case "lookup": {
        const { y, indices } = codebook({ x: of(node.x), table: param(node.table.name) });
        known.set(node.indices, indices);
        return y;
      }
      case "rows":
        throw new Error("rows are not interpreted");
    }
  };

  for (const node of graph.nodes) known.set(node.y, compute(node));
  return known;
}
