/** Devices that measure the latency of pushes, in a process of their own (receivers.c). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile } from '../processes/compile.js';
import { LineProcess } from '../processes/line-process.js';
import { DEVICE_PROTOCOLS, type DeviceProtocol } from './requests.js';

export interface ReceivedPushes {
  readonly pushes: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Time of the newest push, as `nowUs`. */
  readonly lastUs: number;
}

/** How devices of one kind of server connect. */
export interface DeviceKind {
  /** Text that only the answer to an accepted request contains. */
  readonly accepted: string;
  /** A message of the server that requires `answer`, if there is one. */
  readonly heartbeat: Buffer | undefined;
  readonly answer: Buffer | undefined;
}

export interface Device {
  readonly port: number;
  /** Latin-1. */
  readonly request: string;
}

export class Receivers {
  readonly #process: LineProcess;

  constructor({ accepted, heartbeat, answer }: DeviceKind, hasTls = false) {
    const hex = (bytes: Buffer | undefined) => bytes?.toString('hex') ?? '';
    const args = [accepted, hex(heartbeat), hex(answer)];
    const program = compile('bench/support/devices/receivers.c', hasTls);
    this.#process = new LineProcess('the process of the devices', program, args);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /**
   * Resolves when all devices are connected.
   * @returns seconds from the first SYN to the last answer
   * @throws Error when a device was rejected
   */
  async connect(devices: readonly Device[]): Promise<number> {
    const folder = mkdtempSync(join(tmpdir(), 'longline-receivers-'));
    const file = join(folder, 'devices');
    const records = devices.map(({ port, request }) => `${port} ${request.length}\n${request}`);
    writeFileSync(file, records.join(''), 'latin1');
    try {
      const [failed, us] = numbers(await this.#process.ask(`connect ${file}`));
      if (failed! > 0) throw new Error(`${failed} devices could not connect`);
      return us! / 1e6;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /**
   * Pushes received since the last call.
   * @throws Error when a device has lost its connection
   */
  async take(): Promise<ReceivedPushes> {
    return parseReceived(await this.#process.ask('take'));
  }

  /** The same, as soon as they are as many as `pushes`. */
  async takeAll(pushes: number): Promise<ReceivedPushes> {
    return parseReceived(await this.#process.ask(`await ${pushes}`));
  }

  async close(): Promise<void> {
    await this.#process.ask('close');
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}

/** Resolves when a device is connected to each of the URLs of edges. */
export async function startReceivers(
  urls: readonly string[],
  protocol: DeviceProtocol = 'sse',
): Promise<Receivers> {
  const kind = DEVICE_PROTOCOLS[protocol];
  const receivers = new Receivers(kind);
  const devices = urls.map((url) => {
    const { port, pathname, search } = new URL(url);
    return { port: Number(port), request: kind.request(`${pathname}${search}`) };
  });
  try {
    await receivers.connect(devices);
  } catch (error) {
    await receivers.stop();
    throw error;
  }
  return receivers;
}

function parseReceived(line: string): ReceivedPushes {
  const [pushes, us, p50, p99, p999, lastUs] = numbers(line);
  return {
    pushes: pushes!,
    perSecond: Math.round((pushes! * 1e6) / us!),
    p50Ms: p50! / 1e3,
    p99Ms: p99! / 1e3,
    p999Ms: p999! / 1e3,
    lastUs: lastUs!,
  };
}

function numbers(line: string): number[] {
  return line.split(' ').map(Number);
}
