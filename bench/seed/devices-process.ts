/** Process of the seed bench with some of its devices. */
import { type DeviceCounts, SseDevices } from '../support/devices/sse-devices.js';

/** Each request is answered at once. */
export type ToDevices =
  | {
      readonly type: 'connect';
      /** Third number of the devices' source addresses, 127.0.x.y. */
      readonly network: number;
      readonly clientIds: readonly string[];
      /** Where the devices connect at first, in turn. */
      readonly entryUrls: readonly string[];
    }
  /** Answered with `DeviceCounts`. */
  | { readonly type: 'count'; readonly expected: number };

/** Connect requests in progress, of each process. */
const CONNECTING_MAX = 128;

let devices: SseDevices | undefined;

process.on('message', (message: ToDevices) => process.send!(answer(message)));
process.on('disconnect', () => process.exit());

function answer(message: ToDevices): DeviceCounts | true {
  if (message.type === 'count') return devices!.counts(message.expected);
  const { network, clientIds, entryUrls } = message;
  devices = new SseDevices({ network, connectingMax: CONNECTING_MAX });
  for (const [i, clientId] of clientIds.entries()) {
    devices.add(`${entryUrls[i % entryUrls.length]}/connect?clientId=${clientId}`);
  }
  return true;
}
