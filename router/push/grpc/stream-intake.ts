/**
 * What one PushStream call may hold in memory, and how its messages are read. The library would end
 * the call for a message that is too large or cannot be decompressed, and would read 16 messages
 * ahead of a stream that is paused. So this replaces its splitting of messages and delays its
 * reads. Replaced methods rather than a wrapper, because a wrapper would have a cost per message.
 *
 * At most this is in memory for one call: the payloads of pushes without a verdict and messages
 * that wait, together up to `messageBytesMax` when a message is read; that message; and the next
 * one, which is arriving.
 */
import type { Metadata, ServerInterceptingCall, ServerInterceptor } from '@grpc/grpc-js';
import { MessageSplitter, OVERSIZED } from '../../../common/process/grpc/message-splitter.js';
import { PushServiceService } from '../../../proto/gen/longline/v1/push.js';
import { StreamBounds } from '../stream-bounds.js';
import { TOO_LARGE, UNDECOMPRESSED } from './stream-frames.js';

/** The parts of the library's call that are replaced; two of them are private. */
interface Call {
  startRead(): void;
  start(listener: {
    onReceiveMetadata(metadata: Metadata): void;
    onReceiveMessage(message: unknown): void;
  }): void;
  decoder: { write(data: Buffer): Buffer[] };
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
}

/** By the metadata of the call, which is what a handler and an interceptor of the library share. */
const boundsByMetadata = new WeakMap<Metadata, StreamBounds>();

/** Returns the bounds of a call that went through `streamIntake`. */
export function boundsOf(call: { readonly metadata: Metadata }): StreamBounds {
  return boundsByMetadata.get(call.metadata)!;
}

/** Gives each PushStream call its bounds. */
export function streamIntake(messageBytesMax: number): ServerInterceptor {
  return (method, call) => {
    if (method.path === PushServiceService.pushStream.path) {
      // `Call` names members that are private to the library.
      boundIntake(call as unknown as Call, messageBytesMax);
    }
    return call as ServerInterceptingCall;
  };
}

function boundIntake(call: Call, messageBytesMax: number): void {
  const startRead = call.startRead.bind(call);
  const bounds = new StreamBounds(messageBytesMax, startRead);
  call.startRead = () => {
    if (bounds.mayRead()) startRead();
  };
  call.decoder = new MessageSplitter(messageBytesMax);
  const decompress = call.decompressMessage.bind(call);
  call.decompressMessage = (message, encoding) => {
    if (message === OVERSIZED) return TOO_LARGE;
    const contents = decompress(message, encoding);
    if (Buffer.isBuffer(contents)) return contents;
    return contents.catch(rejectContents);
  };
  const start = call.start.bind(call);
  call.start = (listener) => {
    const onReceiveMetadata = listener.onReceiveMetadata.bind(listener);
    listener.onReceiveMetadata = (metadata) => {
      boundsByMetadata.set(metadata, bounds);
      onReceiveMetadata(metadata);
    };
    const onReceiveMessage = listener.onReceiveMessage.bind(listener);
    listener.onReceiveMessage = (message) => {
      bounds.hold(0, (message as { bytes: number }).bytes);
      onReceiveMessage(message);
    };
    start(listener);
  };
}

/** @throws what the library reports for an encoding that it does not know */
function rejectContents(status: { readonly details: string }): Buffer {
  if (/^Received message that decompresses/.test(status.details)) return TOO_LARGE;
  if (/^Failed to decompress/.test(status.details)) return UNDECOMPRESSED;
  throw status;
}
