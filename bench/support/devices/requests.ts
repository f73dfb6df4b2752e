/** Connect requests of devices by protocol, and the answers to heartbeats that need one. */

export const DEVICE_PROTOCOLS = {
  sse: {
    request: (path: string) => `GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`,
    /** Text that only the answer to an accepted request contains. */
    accepted: ' 200 ',
    heartbeat: undefined,
    answer: undefined,
  },
  ws: {
    request: (path: string) =>
      `GET ${path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    accepted: ' 101 ',
    /** An empty ping and a masked pong (RFC 6455 §5.5.3). The edge disconnects without a pong. */
    heartbeat: Buffer.from('8900', 'hex'),
    answer: Buffer.from('8a8000000000', 'hex'),
  },
  mqtt: {
    /**
     * CONNECT of MQTT 5 (§3.1) with Clean Start and the token as password, and SUBSCRIBE to `#`.
     * Latin-1.
     */
    request: (path: string) => {
      const query = new URLSearchParams(path.slice(path.indexOf('?')));
      const token = query.get('token');
      const flags = token === null ? '\x02' : '\x42';
      const password = token === null ? '' : mqttString(token);
      const payload = `${mqttString(query.get('clientId')!)}${password}`;
      const connect = `${mqttString('MQTT')}\x05${flags}\0\0\0${payload}`;
      return `\x10${mqttLength(connect.length)}${connect}\x82\x07\0\x01\0\0\x01#\x01`;
    },
    /** CONNACK. */
    accepted: ' \x15',
    heartbeat: undefined,
    answer: undefined,
  },
} as const;

export type DeviceProtocol = keyof typeof DEVICE_PROTOCOLS;

export const PROTOCOL_NAMES = Object.keys(DEVICE_PROTOCOLS) as readonly DeviceProtocol[];

/** UTF-8 string with its length in two bytes (MQTT 5, §1.5.4). */
function mqttString(text: string): string {
  return String.fromCharCode(text.length >> 8, text.length & 0xff) + text;
}

/** Variable byte integer: seven bits per byte, the least significant first (MQTT 5, §1.5.5). */
function mqttLength(length: number): string {
  return length < 0x80
    ? String.fromCharCode(length)
    : String.fromCharCode(0x80 | (length & 0x7f)) + mqttLength(length >> 7);
}
