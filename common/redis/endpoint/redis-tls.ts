/**
 * TLS to Redis from files that may change: new contents apply to new connections; open connections
 * stay.
 */
import { isIP } from 'node:net';
import { type ConnectionOptions, createSecureContext, type SecureContext } from 'node:tls';
import type { Logger } from '../../process/log.js';
import { WatchedFiles } from '../../process/watched-files.js';

/** Paths of PEM files. */
export interface RedisTlsFiles {
  /** Authority of the servers' certificates; undefined: those that Node.js trusts. */
  readonly ca: string | undefined;
  /** Client certificate; undefined: none. */
  readonly own: { readonly cert: string; readonly key: string } | undefined;
}

export class RedisTls {
  /** Undefined: the defaults of Node.js. */
  #context: SecureContext | undefined;
  #files: WatchedFiles | undefined;

  /** @throws EnvironmentError when the files cannot be used */
  static async open({ ca, own }: RedisTlsFiles, log: Logger): Promise<RedisTls> {
    const tls = new RedisTls();
    const paths = [...(ca === undefined ? [] : [ca]), ...(own ? [own.cert, own.key] : [])];
    if (paths.length === 0) return tls;
    tls.#files = await WatchedFiles.open(
      paths,
      (contents) => {
        const [cert, key] = own === undefined ? [] : contents.slice(-2);
        tls.#context = createSecureContext({ ...(ca && { ca: contents[0] }), cert, key });
      },
      log,
    );
    return tls;
  }

  close(): void {
    this.#files?.close();
  }

  /** Options of connections to `host`; each connection reads them, so they follow the files. */
  optionsFor(host: string): ConnectionOptions {
    const context = () => this.#context;
    return {
      // The server name extension has no addresses (RFC 6066 §3).
      ...(isIP(host) === 0 && { servername: host }),
      get secureContext() {
        return context();
      },
    };
  }
}
