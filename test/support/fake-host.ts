/** Records the calls of a protocol to its host as lines of text. */
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Connection } from '../../common/transport/transport.js';
import type { EndReason, GroupHost, Host, Protocol } from '../../edge/protocol/protocol.js';

export class FakeHost<P extends Protocol> implements Host, GroupHost {
  readonly protocol: P;
  /** In call order. Bytes are in hex. */
  readonly calls: string[] = [];
  readonly timersMs = new Map<Connection, number>();
  /** The newest id written to each connection. */
  readonly sent = new Map<Connection, string>();
  /** Connections with a full send buffer: a reply ends them. */
  readonly full = new Set<Connection>();

  constructor(createProtocol: (host: Host & GroupHost) => P) {
    this.protocol = createProtocol(this);
  }

  /** Returns and clears the recorded calls. */
  take(): string[] {
    return this.calls.splice(0);
  }

  reply(connection: Connection, bytes: Uint8Array): void {
    if (this.full.has(connection)) this.end(connection, 'slow');
    else this.calls.push(`${connection} reply ${Buffer.from(bytes).toString('hex')}`);
  }

  confirm(connection: Connection, id: string): void {
    this.calls.push(`${connection} confirm ${id}`);
  }

  confirmSingle(connection: Connection, id: string): void {
    this.calls.push(`${connection} confirmSingle ${id}`);
  }

  /** A group that begins with `no` is not permitted. */
  async join(connection: Connection, group: string): Promise<Rejection | undefined> {
    this.calls.push(`${connection} join ${group}`);
    return group.startsWith('no') ? rejection('PERMISSION_DENIED', 'not permitted') : undefined;
  }

  async leave(connection: Connection, group: string): Promise<undefined> {
    this.calls.push(`${connection} leave ${group}`);
  }

  async joinAll(): Promise<undefined> {}

  subscribe(): void {}

  unsubscribe(): void {}

  resumePushes(): void {}

  limitMessages(connection: Connection, bytesMax: number): void {
    this.calls.push(`${connection} limitMessages ${bytesMax}`);
  }

  renewToken(connection: Connection, token: string): void {
    this.calls.push(`${connection} renewToken ${token}`);
  }

  end(connection: Connection, reason: EndReason, last?: Buffer): void {
    const bytes = last ?? this.protocol.encodeClose(connection, reason);
    const said = bytes === undefined ? '' : ` ${bytes.toString('hex')}`;
    this.calls.push(`${connection} end ${reason}${said}`);
    this.protocol.onClosed?.(connection, this.clientIdOf(connection), reason);
  }

  setTimer(connection: Connection, afterMs: number): void {
    this.timersMs.set(connection, afterMs);
  }

  clientIdOf(connection: Connection): string {
    return `client-${connection}`;
  }

  lastSentId(connection: Connection): string {
    return this.sent.get(connection) ?? '';
  }
}
