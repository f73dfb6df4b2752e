/**
 * Messages that many streams send. The library encodes a message for each stream, and copies it
 * into a frame of its own: an assignment of 140 kB for 1,000 edges would be 140 MB. Here all
 * streams of a method send the same frame.
 */
import type { ServerInterceptingCall, ServerInterceptor } from '@grpc/grpc-js';

/** Private to the library, hence the forced type. */
interface FramingCall {
  serializeMessage(message: unknown): Buffer;
}

/**
 * Like `addCodes`, it replaces a method of the call and returns the call itself.
 * @param paths of the methods
 * @param contentOf the object by which a message is recognised, and which is all that it contains;
 *   undefined: the message is not shared
 */
export function shareFrames<Message>(
  paths: readonly string[],
  contentOf: (message: Message) => object | undefined,
): ServerInterceptor {
  const framesOf = new Map(paths.map((path) => [path, new WeakMap<object, Buffer>()]));
  return (method, call) => {
    const frames = framesOf.get(method.path);
    if (frames !== undefined) share(call as unknown as FramingCall, frames, contentOf);
    return call as ServerInterceptingCall;
  };
}

function share<Message>(
  call: FramingCall,
  frames: WeakMap<object, Buffer>,
  contentOf: (message: Message) => object | undefined,
): void {
  const frameOf = call.serializeMessage.bind(call);
  call.serializeMessage = (message) => {
    const content = contentOf(message as Message);
    const frame = (content && frames.get(content)) ?? frameOf(message);
    if (content !== undefined) frames.set(content, frame);
    return frame;
  };
}
