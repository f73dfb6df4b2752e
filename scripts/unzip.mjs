import { inflateRawSync } from 'node:zlib';

const END_OF_DIRECTORY = 0x06054b50;
const ENTRY = 0x02014b50;

/**
 * One file of a zip (APPNOTE.TXT 4.3), found through the directory at its end, as sizes before the data
 * may be missing.
 * @param {Buffer} zip
 * @param {(name: string) => boolean} isIt
 */
export function unzip(zip, isIt) {
  let end = zip.length - 22;
  while (zip.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  let at = zip.readUInt32LE(end + 16);
  while (zip.readUInt32LE(at) === ENTRY) {
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((n) => zip.readUInt16LE(at + n));
    if (isIt(zip.toString('utf8', at + 46, at + 46 + nameBytes))) {
      const local = zip.readUInt32LE(at + 42);
      const data = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      const bytes = zip.subarray(data, data + zip.readUInt32LE(at + 20));
      return zip.readUInt16LE(at + 10) === 0 ? bytes : inflateRawSync(bytes);
    }
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
  throw new Error('it is not in the zip');
}
