/**
 * Decoding of requests whose strings must be UTF-8, as proto3 requires. By default the library
 * replaces invalid bytes, so that a push would go to a client of another name.
 */
import type { BinaryReader } from '@bufbuild/protobuf/wire';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { NumberReader } from './number-reader.js';

// U+FEFF at the start of a string is text.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const decodeUtf8 = (bytes: Uint8Array) => decoder.decode(bytes);

/** Returns a reader that throws when it reads a string that is not UTF-8. */
export function strictReader(bytes: Uint8Array): BinaryReader {
  return new NumberReader(bytes, decodeUtf8);
}

/** Returns a service whose requests are rejected when a string is not UTF-8. */
export function withStrictStrings<Service extends ServiceDefinition>(service: Service): Service {
  const methods = Object.entries(service).map(([name, method]) => {
    // Generated code decodes from a reader as well as from bytes.
    const decode = method.requestDeserialize as unknown as (from: BinaryReader) => unknown;
    return [
      name,
      { ...method, requestDeserialize: (bytes: Buffer) => decode(strictReader(bytes)) },
    ];
  });
  return Object.fromEntries(methods) as Service;
}
