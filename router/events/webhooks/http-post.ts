/**
 * One POST to a webhook. Its address is looked up and checked for each connection, so that no name
 * leads into a private network; redirects are not followed. Of the answer, only the status counts.
 */
import type { LookupAddress } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { ipBytes } from '../../../common/net/ip-address.js';
import { Networks } from '../../../common/net/networks.js';
import { Agent as HttpAgent, request as httpRequest } from '../../../common/net/node-http.js';

/** Maximum time from the request to the status. */
const ANSWER_MS_MAX = 15_000;
/** Maximum bytes of an answer that are read so that its connection can be used again. */
const ANSWER_BYTES_MAX = 64 * 1024;
const CONNECTIONS_MAX = 16;

/** Addresses that are not public (IANA special-purpose registries). */
const NOT_PUBLIC = new Networks([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
  '::/127',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
]);

export interface Post {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
}

export class HttpPoster {
  readonly #allowed: Networks;
  readonly #agents = {
    'http:': new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS_MAX }),
    'https:': new HttpsAgent({ keepAlive: true, maxSockets: CONNECTIONS_MAX }),
  };

  /** @param networks that are allowed although they are not public */
  constructor(
    networks: readonly string[],
    readonly answerMsMax = ANSWER_MS_MAX,
  ) {
    this.#allowed = new Networks(networks);
  }

  /**
   * Resolves with undefined if the endpoint has accepted, else with what was wrong. Never rejects.
   */
  post({ url, headers, body, signal }: Post): Promise<string | undefined> {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    // A name is checked when it is looked up.
    if (ipBytes(host) !== undefined && !this.#isAllowed(host)) {
      return Promise.resolve(notAllowed(host));
    }
    const isTls = url.protocol === 'https:';
    const options = {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'Longline' },
      agent: this.#agents[isTls ? 'https:' : 'http:'],
      lookup: this.#lookup,
      signal,
    };
    return new Promise((resolve) => {
      const request = (isTls ? httpsRequest : httpRequest)(url, options, (response) => {
        const { statusCode = 0 } = response;
        resolve(statusCode >= 200 && statusCode < 300 ? undefined : `status ${statusCode}`);
        let bytes = 0;
        response.on('error', () => {});
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX) request.destroy();
        });
      });
      // With AbortSignal.any, Node.js 20 forgets the time at a garbage collection.
      const timer = setTimeout(
        () => request.destroy(new Error(`no answer within ${this.answerMsMax} ms`)),
        this.answerMsMax,
      );
      request.on('close', () => clearTimeout(timer));
      request.on('error', (error) => resolve(error.message));
      request.end(body);
    });
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #isAllowed(address: string): boolean {
    const ip = ipBytes(address.split('%', 1)[0]!);
    if (ip === undefined) return false;
    const endpoint = { ip, port: 0 };
    return this.#allowed.includes(endpoint) || !NOT_PUBLIC.includes(endpoint);
  }

  readonly #lookup: LookupFunction = (host, { all }, callback) => {
    lookup(host, { all: true }).then(
      (addresses: LookupAddress[]) => {
        const allowed = addresses.filter(({ address }) => this.#isAllowed(address));
        const [first] = allowed;
        if (first === undefined) {
          const found = addresses.map(({ address }) => address).join(', ');
          callback(new Error(notAllowed(`${host} (${found})`)), '', 4);
        } else if (all) callback(null, allowed);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 4),
    );
  };
}

function notAllowed(host: string): string {
  return `${host} is not public; see LONGLINE_ROUTER_WEBHOOK_NETWORKS`;
}
