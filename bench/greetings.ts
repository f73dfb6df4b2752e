/** How the devices of benches come in, by protocol, and what they say to stay. */

export const GREETINGS = {
  sse: {
    request: (path: string) => `GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`,
    /** What the answer has in it when the device is let in. */
    accepted: ' 200 ',
    heartbeat: undefined,
    answer: undefined,
  },
  ws: {
    request: (path: string) =>
      `GET ${path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    accepted: ' 101 ',
    /** An empty ping, and a masked pong (RFC 6455 §5.5.3): a device that does not answer is let go. */
    heartbeat: Buffer.from('8900', 'hex'),
    answer: Buffer.from('8a8000000000', 'hex'),
  },
  mqtt: {
    /** CONNECT of MQTT 5, which wants no session kept, and SUBSCRIBE to `#`. Latin-1. */
    request: (path: string) => {
      const clientId = path.slice(path.indexOf('=') + 1);
      const length = String.fromCharCode(13 + clientId.length);
      const connect = `\x10${length}\0\x04MQTT\x05\x02\0\0\0\0${String.fromCharCode(clientId.length)}`;
      return `${connect}${clientId}\x82\x07\0\x01\0\0\x01#\x01`;
    },
    /** CONNACK. */
    accepted: ' \x15',
    heartbeat: undefined,
    answer: undefined,
  },
} as const;

export type GreetingName = keyof typeof GREETINGS;

export function isGreeting(name: string): name is GreetingName {
  return Object.hasOwn(GREETINGS, name);
}
