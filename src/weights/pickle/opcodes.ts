/** The opcodes of pickles, protocols 0 to 5 (Python's `Lib/pickletools.py` defines them), by their bytes. */
import type { Machine } from "./machine.ts";
import { type Operands, pythonFloat, unescaped, unquoted } from "./operands.ts";
import { Global } from "./values.ts";

/** Reads its operands before it has any effect: where they are not all there, it is begun again. */
type Opcode = (m: Machine, operands: Operands) => void;

export const STOP = 0x2e;

const integer: Opcode = (m, o) => m.push(o.decimal(o.line()));
const emptyList: Opcode = (m) => m.new([]);
const listOfMarked: Opcode = (m) => m.new(m.popMark());
const appendMarked: Opcode = (m) => m.append(m.popMark());
const longBytes: Opcode = (m, o) => m.push(o.take(o.uint(8)));
const reduce: Opcode = (m) => {
  const args = m.pop();
  m.call(m.pop(), args);
};

export const OPCODES: Readonly<Record<number, Opcode>> = {
  // PROTO, FRAME
  128: (_, o) => o.uint(1) > 5 && o.fail("is a pickle of a protocol above 5, or none"),
  149: (_, o) => o.uint(8),

  // MARK, POP, POP_MARK, DUP
  40: (m) => m.mark(),
  48: (m) => m.discard(),
  49: (m) => m.popMark(),
  50: (m) => m.push(m.top()),

  // NONE, NEWTRUE, NEWFALSE
  78: (m) => m.push(null),
  136: (m) => m.push(true),
  137: (m) => m.push(false),

  // INT and LONG, BININT, BININT1, BININT2, LONG1, LONG4, FLOAT, BINFLOAT
  73: integer,
  76: integer,
  74: (m, o) => m.push(o.uint(4) | 0),
  75: (m, o) => m.push(o.uint(1)),
  77: (m, o) => m.push(o.uint(2)),
  138: (m, o) => m.push(o.integer(o.uint(1))),
  139: (m, o) => m.push(o.integer(o.uint(4))),
  70: (m, o) => m.push(pythonFloat(o.line()) ?? o.fail("is no pickle: a number is none")),
  71: (m, o) => m.push(o.float()),

  // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8, UNICODE, STRING, SHORT_BINSTRING, BINSTRING
  140: (m, o) => m.push(o.text(o.uint(1))),
  88: (m, o) => m.push(o.text(o.uint(4))),
  141: (m, o) => m.push(o.text(o.uint(8))),
  86: (m, o) => m.push(unescaped(o.line())),
  83: (m, o) => m.push(unquoted(o.line()) ?? o.fail("is no pickle: a text has no quotes")),
  85: (m, o) => m.push(o.string(o.uint(1))),
  84: (m, o) => m.push(o.string(o.uint(4))),

  // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8, READONLY_BUFFER
  67: (m, o) => m.push(o.take(o.uint(1))),
  66: (m, o) => m.push(o.take(o.uint(4))),
  142: longBytes,
  150: longBytes,
  152: () => {},

  // EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET; LIST, TUPLE, FROZENSET; TUPLE1, TUPLE2, TUPLE3
  93: emptyList,
  41: emptyList,
  143: emptyList,
  108: listOfMarked,
  116: listOfMarked,
  145: listOfMarked,
  133: (m) => m.new(m.popItems(1)),
  134: (m) => m.new(m.popItems(2)),
  135: (m) => m.new(m.popItems(3)),

  // APPEND, APPENDS, ADDITEMS; EMPTY_DICT, DICT, SETITEM, SETITEMS
  97: (m) => m.append(m.popItems(1)),
  101: appendMarked,
  144: appendMarked,
  125: (m) => m.dict([]),
  100: (m) => m.dict(m.popMark()),
  115: (m) => m.set(m.popItems(2)),
  117: (m) => m.set(m.popMark()),

  // GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ
  99: (m, o) => m.global(o.line(), o.line()),
  147: (m) => {
    const name = m.pop();
    m.global(m.pop(), name);
  },
  82: reduce,
  129: reduce,
  // NEWOBJ_EX, whose keywords nothing here takes
  146: (m, o) => {
    m.pop();
    reduce(m, o);
  },
  // INST, OBJ
  105: (m, o) => {
    const name = `${o.line()}.${o.line()}`;
    m.call(new Global(name), m.popMark());
  },
  111: (m) => {
    const [callee, ...args] = m.popMark();
    m.call(callee, args);
  },
  // BUILD, PERSID, BINPERSID
  98: (m) => {
    const state = m.pop();
    m.meanings.build(m.top(), state);
  },
  80: (m, o) => m.new(m.meanings.persistent(o.line())),
  81: (m) => m.new(m.meanings.persistent(m.pop())),

  // GET, BINGET, LONG_BINGET; PUT, BINPUT, LONG_BINPUT, MEMOIZE
  103: (m, o) => m.get(o.decimal(o.line())),
  104: (m, o) => m.get(o.uint(1)),
  106: (m, o) => m.get(o.uint(4)),
  112: (m, o) => m.put(o.decimal(o.line())),
  113: (m, o) => m.put(o.uint(1)),
  114: (m, o) => m.put(o.uint(4)),
  148: (m) => m.memoize(),
};
