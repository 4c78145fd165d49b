/**
 * torch.randn on a CPU, float32: the starting noise of a diffusers script with the same seed. Agrees with torch to a few
 * 1e-6: torch's logarithm, sine and cosine come from a vector library, these from JavaScript.
 */

/** MT19937 (Matsumoto and Nishimura 1998), seeded as torch and numpy seed it: with one 32-bit word. */
class MersenneTwister {
  private readonly state = new Uint32Array(624);
  private next = 624;

  constructor(seed: number) {
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const previous = this.state[i - 1]!;
      this.state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
    }
  }

  word(): number {
    if (this.next === 624) this.refill();
    let y = this.state[this.next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private refill(): void {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i]! & 0x80000000) | (s[(i + 1) % 624]! & 0x7fffffff);
      s[i] = s[(i + 397) % 624]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }
}

/** A torch.Generator("cpu"): consecutive draws continue one stream. */
export class TorchGenerator {
  private readonly engine: MersenneTwister;
  /** The sine half of the last scalar pair; torch keeps it for the next draw of fewer than 16 numbers. */
  private spare: number | undefined;

  /** @param seed torch.manual_seed; only its low 32 bits matter to torch's CPU engine */
  constructor(seed: bigint) {
    this.engine = new MersenneTwister(Number(BigInt.asUintN(32, seed)));
  }

  /** torch.randn of `count` float32 numbers; the shape does not matter, only how many there are. */
  randn(count: number): Float32Array {
    return count < 16 ? Float32Array.from({ length: count }, () => this.scalar()) : this.blocks(count);
  }

  /** Blocks of 16 uniforms become 8 cosines and 8 sines; an incomplete last block is replaced by a fresh whole one. */
  private blocks(count: number): Float32Array {
    const values = Float32Array.from({ length: count }, () => this.uniform24());
    for (let start = 0; start + 16 <= count; start += 16) transformBlock(values.subarray(start, start + 16));
    if (count % 16) {
      const tail = values.subarray(count - 16).map(() => this.uniform24());
      transformBlock(tail);
      values.set(tail, count - 16);
    }
    return values;
  }

  private scalar(): number {
    const spare = this.spare;
    this.spare = undefined;
    if (spare !== undefined) return spare;
    const angle = 2 * Math.PI * this.uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.uniform53()));
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  private uniform24(): number {
    return (this.engine.word() & 0xffffff) / 2 ** 24;
  }

  /** Two words, the first one high; the low 53 bits of the 64. */
  private uniform53(): number {
    const high = this.engine.word() & 0x1fffff;
    return (high * 2 ** 32 + this.engine.word()) / 2 ** 53;
  }
}

/** Box–Muller over 16 uniforms in place: element k with element k + 8. */
function transformBlock(block: Float32Array): void {
  for (let k = 0; k < 8; k++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[k]!));
    const angle = 2 * Math.PI * block[k + 8]!;
    block[k] = radius * Math.cos(angle);
    block[k + 8] = radius * Math.sin(angle);
  }
}

/** The starting noise that torch draws for one image: one generator per image, `count` numbers, C · H · W order. */
export function torchRandn(seed: bigint, count: number): Float32Array {
  return new TorchGenerator(seed).randn(count);
}
