/**
 * Devices that do not read what was written: pushes that find their send buffer full, and bytes
 * that wait.
 */
import type { PushOutcome } from '../../../common/cluster/push-outcomes.js';
import type { Connection, Transport } from '../../../common/transport/transport.js';
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';
import type { Message } from '../../protocol/protocol.js';
import type { CatchUp } from '../catch-up.js';
import type { Connections } from '../connections.js';

/**
 * Maximum of what MQTT and WebSocket add to a payload (topic, properties, framing), with a reserve.
 */
const OVERHEAD_BYTES_MAX = 1_024;

export interface SlowDevicesOptions {
  readonly sendBufferBytesMax: number;
  readonly table: Pick<Connections, 'acceptedPart'>;
  readonly transport: Pick<Transport, 'bufferedBytes'>;
  readonly catchUp: Pick<CatchUp, 'parkUnlessDrained' | 'readAgain'>;
  /** A live-only push was dropped, and the connection stays. */
  readonly onDropped: (connection: Connection) => void;
  readonly end: (connection: Connection) => void;
}

export class SlowDevices {
  constructor(readonly options: SlowDevicesOptions) {}

  /** Does what a push asks for that finds the send buffer full. */
  onFull(connection: Connection, whenSlow: WhenSlow | undefined): PushOutcome {
    const { onDropped, catchUp, end } = this.options;
    switch (whenSlow) {
      case WhenSlow.WHEN_SLOW_DROP:
        onDropped(connection);
        return 'dropped';
      case WhenSlow.WHEN_SLOW_KEEP:
        if (!catchUp.parkUnlessDrained(connection)) catchUp.readAgain(connection);
        return 'catchingUp';
      default:
        end(connection);
        return 'slow';
    }
  }

  /**
   * Leaves a durable push to the inbox while bytes wait for the device: one that can be replaced
   * there, and one that is to be kept for later and may find the send buffer full. Returns whether
   * it did. To be called before the push is encoded, because protocols take an encoded push for one
   * on its way.
   */
  leavesToInbox(connection: Connection, { collapsible, whenSlow, payload }: Message): boolean {
    const { catchUp, transport, sendBufferBytesMax } = this.options;
    if (collapsible) return catchUp.parkUnlessDrained(connection);
    if (whenSlow !== WhenSlow.WHEN_SLOW_KEEP) return false;
    const bytes = transport.bufferedBytes(connection) + payload.length + OVERHEAD_BYTES_MAX;
    return bytes > sendBufferBytesMax && catchUp.parkUnlessDrained(connection);
  }

  /**
   * Ends the connections whose devices have not read all that was written: their buffers are freed.
   */
  endUnread(): void {
    const { table, transport, end } = this.options;
    const unread = [...table.acceptedPart(0, 1)].filter(
      (connection) => transport.bufferedBytes(connection) > 0,
    );
    for (const connection of unread) end(connection);
  }
}
