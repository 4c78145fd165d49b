/** What PyTorch's and Python's own names mean in a checkpoint (torch/_utils.py, torch/storage.py of 0.1 to 2.x). */

import { FileError } from "../../runtime/errors.ts";
import type { Budget } from "./budget.ts";
import { type Bytes, fromLatin1, memoryBytes } from "./bytes.ts";
import type { Meanings } from "./machine.ts";
import { NumpyArray, numpyCalls, numpyTensor, setTypeState } from "./numpy.ts";
import { type ElementType, PickledTensor, Storage, torchType } from "./tensor.ts";
import { Dict, Global, LongText, Stub } from "./values.ts";

type Call = (args: readonly unknown[], budget: Budget) => unknown;

/** A whole `torch.save` inside the pickle: how a storage is written by plain `pickle`. */
export class Nested extends Storage {
  constructor(readonly saved: Bytes) {
    super({ dtype: undefined, bytes: 1 }, 0);
  }
}

/** What makes the tensor inside one of a subclass. */
const REBUILDERS = /^torch\._utils\._rebuild_(tensor|parameter|device_tensor)\w*$/;

/** A storage of the file, by what the pickle calls it. */
export type FindStorage = (id: readonly unknown[]) => Storage;

/** @param file named in errors */
export function torchMeanings(file: string, findStorage: FindStorage): Meanings & { readonly nested: Nested[] } {
  const nested: Nested[] = [];
  const fail = (problem: string): never => {
    throw new FileError(file, `is damaged: ${problem}`);
  };

  function tensor(args: readonly unknown[], type?: ElementType, metadata?: unknown): unknown {
    const [storage, offset, shape, strides] = args;
    if (storage instanceof Stub) return new Stub(storage.of);
    if (!(storage instanceof Storage)) return fail("a tensor has no storage");
    if (typeof offset !== "number" || !isNumbers(shape) || !isNumbers(strides))
      return fail("a tensor has no shape or strides");
    const marks = metadata instanceof Dict ? [...metadata.named()].filter(([, set]) => set === true) : [];
    const obstacle = marks.length > 0 ? `stored with the mark ${marks[0]?.[0]}` : undefined;
    return new PickledTensor(storage, shape, strides, offset, type, obstacle);
  }

  const typed = ([storage, offset, shape, strides, , , dtype, metadata]: readonly unknown[]): unknown => {
    const type = dtype instanceof Global ? torchType(lastName(dtype)) : undefined;
    return type ? tensor([storage, offset, shape, strides], type, metadata) : new Stub(nameOf(dtype));
  };

  /** From another device: the values are those of a tensor, or of an array of numpy's, in the type that they had. */
  const fromOther = ([data, dtype]: readonly unknown[]): unknown => {
    const own = data instanceof NumpyArray ? numpyTensor(data, file) : data;
    const type = dtype instanceof Global ? torchType(lastName(dtype)) : undefined;
    return own instanceof PickledTensor && own.type.dtype === type?.dtype
      ? own
      : new Stub("a tensor of another device");
  };

  const calls = new Map<string, Call>([
    ["torch._utils._rebuild_tensor", (args) => tensor(args)],
    ["torch._utils._rebuild_tensor_v2", (args) => tensor(args, undefined, args[6])],
    ["torch._utils._rebuild_tensor_v3", typed],
    ["torch._utils._rebuild_parameter", ([data]) => data],
    ["torch._utils._rebuild_parameter_with_state", ([data]) => data],
    ["torch._utils._rebuild_device_tensor_from_cpu_tensor", fromOther],
    ["torch._utils._rebuild_device_tensor_from_numpy", fromOther],
    ["torch._utils._rebuild_xla_tensor", fromOther],
    [
      "torch._tensor._rebuild_from_type_v2",
      ([callee, , args], budget) =>
        Array.isArray(args) && REBUILDERS.test(nameOf(callee)) ? call(callee, args, budget) : new Stub("tensor"),
    ],
    ["torch.Size", ([sizes]) => sizes ?? []],
    [
      "torch.storage._load_from_bytes",
      ([saved]) => {
        const bytes =
          saved instanceof Uint8Array ? memoryBytes(saved) : isBytes(saved) ? saved : fail("a storage is no bytes");
        const storage = new Nested(bytes);
        nested.push(storage);
        return storage;
      },
    ],
    ["_codecs.encode", encode],
    ["collections.OrderedDict", dict],
    ["collections.Counter", dict],
    ["collections.defaultdict", (args, budget) => dict(args.slice(1), budget)],
    ...["builtins", "__builtin__"].flatMap((module): [string, Call][] => [
      [`${module}.dict`, dict],
      ...["list", "tuple", "set", "frozenset"].map((name): [string, Call] => [`${module}.${name}`, list]),
      ...["int", "float", "bool", "str"].map((name): [string, Call] => [`${module}.${name}`, ([value]) => value ?? 0]),
      [`${module}.bytes`, ([value], budget) => encode([value, "latin1"], budget)],
      [`${module}.bytearray`, ([value], budget) => encode([value, "latin1"], budget)],
    ]),
    ...numpyCalls(file),
  ]);

  function dict([from]: readonly unknown[], budget: Budget): unknown {
    const made = new Dict();
    const items = from instanceof Dict ? from.items : (from ?? []);
    if (!Array.isArray(items)) return new Stub("dict");
    budget.spend({ items: 2 * items.length });
    if (from instanceof Dict) for (const item of items) made.items.push(item);
    else
      for (const pair of items) {
        if (!Array.isArray(pair) || pair.length !== 2) return fail("a dict is made of what are no pairs");
        made.items.push(pair[0], pair[1]);
      }
    return made;
  }

  function list([from]: readonly unknown[], budget: Budget): unknown {
    const items = from instanceof Dict ? from.items.filter((_, i) => i % 2 === 0) : (from ?? []);
    if (!Array.isArray(items)) return new Stub("list");
    budget.spend({ items: items.length });
    return [...items];
  }

  /** Text to bytes, as protocol 2 writes bytes. */
  function encode([text, encoding]: readonly unknown[], budget: Budget): unknown {
    if (text === undefined) return new Uint8Array(0);
    if (text instanceof LongText) return text;
    if (text instanceof Uint8Array || isBytes(text)) return text;
    if (typeof text !== "string" || !/^latin-?1$/i.test(String(encoding))) return new Stub("bytes");
    budget.spend({ bytes: text.length });
    return fromLatin1(text) ?? fail("bytes are none");
  }

  function call(callee: unknown, args: readonly unknown[], budget: Budget): unknown {
    const name = nameOf(callee);
    return calls.get(name)?.(args, budget) ?? new Stub(name);
  }

  return {
    nested,
    call,
    build(object, state) {
      if (object instanceof NumpyArray) object.setState(state, file);
      else setTypeState(object, state);
    },
    persistent(id) {
      return Array.isArray(id) && id[0] === "storage" ? findStorage(id) : new Stub("persistent");
    },
  };
}

const nameOf = (callee: unknown): string => (callee instanceof Global ? callee.name : "?");

/** A name without its module. */
export const lastName = ({ name }: Global): string => name.slice(name.lastIndexOf(".") + 1);

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 64 && value.every((n) => typeof n === "number");

const isBytes = (value: unknown): value is Bytes =>
  typeof value === "object" && value !== null && "readInto" in value && !(value instanceof Storage);
