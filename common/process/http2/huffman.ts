/** Decodes strings in the Huffman code of HPACK (RFC 7541 §5.2), four bits at a time. */
import { ERROR, Http2Error } from './protocol.js';

/**
 * Bits of the code of each byte, and of EOS at the end (RFC 7541, appendix B): A is 5, Z is 30. The
 * code is canonical, so the codes follow from their lengths.
 */
const LENGTHS = [
  'ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXX',
  'BFFHIBDGFFDGDBBBAAABBBBBBBCDKBHF',
  'IBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJB',
  'KABABABBBACCBBBABCBAABCCCCCKGJIX',
  'PRPPRRRSRSSSSSTSTTRSTSSSSQRSRSST',
  'RQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRS',
  'VVPORSRUVVVWWVTUOQVWWVWTQQVVXWWW',
  'PTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWV',
  'Z',
].join('');
const A_BITS = 5;
const EOS = 256;

const lengths = Array.from(LENGTHS, (letter) => letter.charCodeAt(0) - 65 + A_BITS);
/** By inner node of the code's tree, its two children: an inner node, or `~symbol`. */
const children: number[][] = [[]];
/** Inner nodes that up to seven bits of padding, all ones, lead to. */
const paddings = new Set([0]);
buildTree();

const NONE = -1;
const INVALID = -2;
/** By inner node and four bits: the node that follows, and the byte that they complete. */
const nextNodes = new Uint16Array(16 * children.length);
const symbols = new Int16Array(16 * children.length).fill(NONE);
buildSteps();

function buildTree(): void {
  const order = [...lengths.keys()].sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  let code = 0;
  let bits = A_BITS;
  for (const symbol of order) {
    code <<= lengths[symbol]! - bits;
    bits = lengths[symbol]!;
    let node = 0;
    for (let bit = bits - 1; bit > 0; bit--) {
      const pair = children[node]!;
      const side = (code >>> bit) & 1;
      pair[side] ??= children.push([]) - 1;
      node = pair[side];
    }
    children[node]![code & 1] = ~symbol;
    code++;
  }
  for (let node = 0, bits = 0; bits < 7; bits++) {
    node = children[node]![1]!;
    paddings.add(node);
  }
}

function buildSteps(): void {
  for (let step = 0; step < nextNodes.length; step++) {
    let node = step >> 4;
    for (let bit = 3; bit >= 0; bit--) {
      const child = children[node]![(step >> bit) & 1]!;
      node = Math.max(child, 0);
      if (child < 0) symbols[step] = ~child === EOS ? INVALID : ~child;
    }
    nextNodes[step] = node;
  }
}

let scratch = Buffer.allocUnsafe(256);

/** @throws Http2Error when the string has an invalid end */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  // No code has fewer than five bits.
  const lengthMax = Math.ceil(((end - start) * 8) / A_BITS);
  if (scratch.length < lengthMax) scratch = Buffer.allocUnsafe(2 * lengthMax);
  let length = 0;
  let node = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    for (let shift = 4; shift >= 0; shift -= 4) {
      const step = (node << 4) | ((byte >> shift) & 15);
      const symbol = symbols[step]!;
      if (symbol >= 0) scratch[length++] = symbol;
      else if (symbol === INVALID) throw invalid();
      node = nextNodes[step]!;
    }
  }
  if (!paddings.has(node)) throw invalid();
  return scratch.toString('latin1', 0, length);
}

function invalid(): Http2Error {
  return new Http2Error(ERROR.compression, 'a header has an invalid Huffman code');
}
