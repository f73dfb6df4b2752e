/**
 * The open streams of a gRPC server, so that a stop can end those that never end by themselves:
 * health watches, reflection, sessions of edges, watches of the assignment and of events. Calls
 * with one request and one response are not counted; they have no cost here, and end by themselves.
 */
import {
  type ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';

type Call = Parameters<ServerInterceptor>[1];

export class OpenStreams {
  /** By call: the path of its method. */
  readonly #open = new Map<Call, string>();

  /** Like `addCodes`, it replaces methods of the call and returns the call itself. */
  readonly interceptor: ServerInterceptor = (method, call) => {
    if (method.requestStream || method.responseStream) this.#add(call, method.path);
    return call as ServerInterceptingCall;
  };

  /** Ends the streams of all methods but `except` with a status; later messages are dropped. */
  end(reason: Partial<ServiceError>, except: readonly string[]): void {
    const { code = status.UNAVAILABLE, details = '', metadata } = reason;
    for (const [call, path] of this.#open) {
      if (except.includes(path)) continue;
      this.#open.delete(call);
      call.sendStatus({ code, details, metadata });
      call.sendMetadata = () => {};
      call.sendMessage = (_message, callback) => callback();
      call.sendStatus = () => {};
    }
  }

  #add(call: Call, path: string): void {
    const start = call.start.bind(call);
    call.start = (listener) => {
      this.#open.set(call, path);
      const onCancel = listener.onCancel.bind(listener);
      // Called once for every call, however it ends.
      listener.onCancel = () => {
        this.#open.delete(call);
        onCancel();
      };
      start(listener);
    };
  }
}
