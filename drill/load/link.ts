/** One connection of a device, over any protocol. */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface LinkHandler {
  /** The answer was 200, and events follow. `edge` is `host:port`. */
  onOpen(edge: string): void;
  onEvent(event: LinkEvent): void;
  /** Called once, for any reason except `close`. */
  onClose(reason: string): void;
}

export interface LinkEvent {
  readonly name: string;
  readonly messageId: string;
  readonly text: string;
  /** Delay before reconnecting after the end of the stream, if the event has a `retry` field. */
  readonly retryMs?: number | undefined;
}

export interface Link {
  readonly isOpen: boolean;
  readonly isPaused: boolean;
  /** Time of the last bytes, or of the request; by the monotonic clock. */
  readonly activeAtMs: number;
  pause(): void;
  resume(): void;
  /** Closes the connection; the handler is not called any more. */
  close(how: 'reset' | 'fin'): void;
}

/** Opens a connection to the host of a URL, over TLS for `https:`. */
export function openSocket(url: URL, sourceHost?: string): Socket {
  const isTls = url.protocol === 'https:';
  const options = {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port) || (isTls ? 443 : 80),
    // Both ends have the address family of the source, even if the name has addresses of another.
    ...(sourceHost !== undefined && { localAddress: sourceHost, family: isIP(sourceHost) }),
  };
  return isTls ? connectTls(options) : connect(options);
}
