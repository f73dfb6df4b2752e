/**
 * A connection over MQTT 5, with packets by a parser that is not ours. MQTT has no ids of pushes: a
 * durable push is received with the id `MQTT_DURABLE`.
 */
import type { Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';
import { openSocket } from '../../drill/load/link.js';
import { LookedUpLink } from './looked-up-link.js';

/** The id of a durable push whose id is not known to the device. */
export const MQTT_DURABLE = '0-0';

/** How long the edge keeps the session while the device is away, as long as a push lives. */
const SESSION_SECONDS = 600;
const VERSION = { protocolVersion: 5 };

export class MqttLink extends LookedUpLink {
  #socket: Socket | undefined;
  #pingTimer: NodeJS.Timeout | undefined;

  protected connect(edge: URL): void {
    const { clientId, heartbeatMs } = this.target;
    const ticket = edge.searchParams.get('ticket');
    const socket = openSocket(edge);
    this.#socket = socket;
    socket.setNoDelay(true);
    const packets = parser(VERSION);
    packets.on('packet', (packet) => this.#receive(edge, packet));
    packets.on('error', (error) => this.onClosed(error.message));
    let reason = 'ended by the edge';
    socket.on('data', (bytes) => {
      this.onActive();
      packets.parse(bytes);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
    });
    socket.on('close', () => this.onClosed(reason));
    this.#send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clientId,
      clean: false,
      keepalive: Math.ceil(heartbeatMs / 1_000),
      properties: { sessionExpiryInterval: SESSION_SECONDS },
      ...(ticket !== null && { username: clientId, password: Buffer.from(ticket) }),
    });
    this.#pingTimer = setInterval(() => this.#send({ cmd: 'pingreq' }), heartbeatMs / 2);
  }

  protected endSocket(how: 'reset' | 'fin'): void {
    clearInterval(this.#pingTimer);
    if (how === 'fin') {
      // The session stays.
      this.#send({ cmd: 'disconnect', reasonCode: 0 });
      this.#socket?.end(() => this.#socket?.destroy());
    } else this.#socket?.resetAndDestroy();
  }

  #receive(edge: URL, packet: Packet): void {
    switch (packet.cmd) {
      case 'connack':
        if (packet.reasonCode !== 0) return this.onClosed(`rejected with ${packet.reasonCode}`);
        if (packet.sessionPresent) return this.onOpen(edge);
        return this.#send({
          cmd: 'subscribe',
          messageId: 1,
          subscriptions: [{ topic: `push/${this.target.clientId}`, qos: 1 }],
        });
      case 'suback':
        return this.onOpen(edge);
      case 'publish': {
        // It is not acknowledged, so the edge sends it again.
        if (!this.isOpen) return;
        const messageId = packet.qos === 0 ? '' : MQTT_DURABLE;
        this.handler.onEvent({ name: 'message', messageId, text: packet.payload.toString() });
        if (packet.qos > 0) this.#send({ cmd: 'puback', messageId: packet.messageId! });
        return;
      }
      case 'disconnect':
        return this.onClosed(`disconnected with ${packet.reasonCode}`);
      default:
    }
  }

  #send(packet: Packet): void {
    if (this.#socket?.writable) this.#socket.write(generate(packet, VERSION));
  }
}
