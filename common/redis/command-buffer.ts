/**
 * Commands as Redis reads them: arrays of bulk strings (RESP 2), one after another in one piece of
 * memory. ioredis makes several buffers per command and joins them: 9 to 17 % of what a router
 * spent on a push.
 */

const ARENA_BYTES = 64 * 1024;
/** Up to so long, a text is written faster character by character than by a call into Node. */
const SHORT_TEXT_MAX = 128;
const [ARRAY, BULK, ZERO, CR, LF] = [0x2a, 0x24, 0x30, 0x0d, 0x0a] as const;

export type CommandArgs = readonly (string | number | Buffer)[];

export class CommandBuffer {
  #arena = Buffer.allocUnsafeSlow(ARENA_BYTES);
  #used = 0;
  /** Where in the arena the commands begin that were not taken yet. */
  #start = 0;

  append(name: string, args: CommandArgs): void {
    let bytesMax = 64;
    for (const arg of args) {
      // 32: the digits of a number, or of the length, with what stands around them.
      bytesMax +=
        32 + (typeof arg === 'string' ? arg.length * 3 : typeof arg === 'object' ? arg.length : 32);
    }
    this.#reserve(bytesMax);
    this.#head(ARRAY, args.length + 1);
    this.#text(name);
    for (const arg of args) {
      if (typeof arg !== 'object') {
        this.#text(`${arg}`);
        continue;
      }
      this.#head(BULK, arg.length);
      this.#used += arg.copy(this.#arena, this.#used);
      this.#endLine();
    }
  }

  /** What was appended since the last call; it stays as it is for as long as it is referenced. */
  take(): Buffer {
    const taken = this.#arena.subarray(this.#start, this.#used);
    this.#start = this.#used;
    return taken;
  }

  #text(text: string): void {
    const from = this.#used;
    this.#head(BULK, text.length);
    if (text.length > SHORT_TEXT_MAX || !this.#ascii(text)) {
      this.#used = from;
      this.#head(BULK, Buffer.byteLength(text));
      this.#used += this.#arena.write(text, this.#used);
    }
    this.#endLine();
  }

  /** Returns false when the text has other characters, too. */
  #ascii(text: string): boolean {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      this.#arena[this.#used++] = code;
    }
    return true;
  }

  #head(type: number, length: number): void {
    this.#arena[this.#used++] = type;
    let power = 1;
    while (power * 10 <= length) power *= 10;
    for (; power >= 1; power /= 10) {
      this.#arena[this.#used++] = ZERO + (Math.floor(length / power) % 10);
    }
    this.#endLine();
  }

  #endLine(): void {
    this.#arena[this.#used++] = CR;
    this.#arena[this.#used++] = LF;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#arena.length) return;
    const pending = this.#arena.subarray(this.#start, this.#used);
    this.#arena = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, 2 * pending.length + bytes));
    this.#used = pending.copy(this.#arena);
    this.#start = 0;
  }
}
