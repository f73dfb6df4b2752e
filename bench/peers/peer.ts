/** A server that the peers bench measures, Longline among them. */
import type { Device, DeviceKind } from '../support/devices/receivers.js';
import type { Pids } from '../support/processes/cpu.js';
import type { GoServer } from '../support/pushes/go-backend.js';
import type { FanOutName, SteadyName } from '../support/pushes/loads.js';

/** The reason to connect devices: a server may subscribe them to more for a fan-out. */
export type Purpose = 'connects' | 'pushes' | 'fanOuts';

export interface PeerServer {
  /** All processes, Redis included. */
  readonly pids: Pids;
  readonly backend: { readonly server: GoServer; readonly addresses: readonly string[] };
  readonly deviceKind: DeviceKind;
  devicesOf(clientIds: readonly string[], purpose: Purpose): Promise<Device[]>;
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  /** Version and settings, one line each, for the output. */
  readonly settings: Readonly<Record<string, string>>;
  readonly steady: readonly SteadyName[];
  readonly fanOuts: readonly FanOutName[];
  /** Its devices must authenticate, so that connects can be compared. */
  readonly measuresConnects: boolean;
  start(): Promise<PeerServer>;
}
