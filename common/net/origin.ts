/**
 * Origins (RFC 6454): scheme, host and port, with the default port of the scheme equal to no port.
 * Text that differs only in case, or in the form of an address or port, is one origin. A dot at the
 * end of a host makes another host, as in browsers.
 */

interface Origin {
  readonly scheme: string;
  /** Lower case; an IPv6 address in brackets; empty only for schemes without hosts (`file://`). */
  readonly host: string;
  /** Empty if the scheme has no default port and the text has none. */
  readonly port: string;
}

/** The schemes whose hosts are names and addresses of the Internet. */
const DEFAULT_PORTS: Readonly<Record<string, string>> = {
  http: '80',
  https: '443',
  ws: '80',
  wss: '443',
};

const SYNTAX = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:.]+\]|[^[\]:/?#@\\%\s]*)(?::(\d*))?$/i;
/** Text that may be the origin of a page on the web; browsers send nothing after the authority. */
const WEB_PAGE = /^(null|https?:\/\/[^/]*)$/i;
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;
const WILDCARD = '*.';

/** Returns undefined for text that is not an origin; also for `null`, which names none. */
export function parseOrigin(text: string): Origin | undefined {
  const [, schemeText, hostText, portText] = SYNTAX.exec(text) ?? [];
  if (schemeText === undefined) return undefined;
  const scheme = schemeText.toLowerCase();
  const defaultPort = DEFAULT_PORTS[scheme];
  const host = defaultPort === undefined ? opaqueHost(hostText!) : internetHost(hostText!);
  if (host === undefined) return undefined;
  if (portText === undefined || portText === '') return { scheme, host, port: defaultPort ?? '' };
  const port = Number(portText);
  return port >= 1 && port <= 65_535 ? { scheme, host, port: String(port) } : undefined;
}

/** In the one form of the URL standard: names in lower case, addresses canonical. */
function internetHost(text: string): string | undefined {
  const url = `http://${text}/`;
  return text !== '' && URL.canParse(url) ? new URL(url).hostname : undefined;
}

function opaqueHost(text: string): string | undefined {
  return text === '' || VISIBLE_ASCII.test(text) ? text.toLowerCase() : undefined;
}

function originText({ scheme, host, port }: Origin): string {
  return `${scheme}://${host}:${port}`;
}

/**
 * Whether the origin has the host and port of a Host header, under the origin's own scheme: whether
 * a proxy has terminated TLS is unknown here.
 */
export function isSameHost(origin: string, host: string | undefined): boolean {
  const parsed = VISIBLE_ASCII.test(origin) ? parseOrigin(origin) : undefined;
  if (parsed === undefined || !(parsed.scheme in DEFAULT_PORTS) || host === undefined) return false;
  const own = VISIBLE_ASCII.test(host) ? parseOrigin(`${parsed.scheme}://${host}`) : undefined;
  return own !== undefined && originText(own) === originText(parsed);
}

/** Returns what is wrong with an entry of a list of allowed origins; undefined if it is valid. */
export function originProblem(entry: string): string | undefined {
  if (entry === '') return 'an entry is empty; remove the surplus comma';
  if (entry === '*' || entry === 'null') return undefined;
  const quoted = JSON.stringify(entry);
  const [, scheme, rest] = /^([^/]*):\/\/(.*)$/s.exec(entry) ?? [];
  if (scheme === undefined) return `${quoted} has no scheme; write it as https://app.example`;
  if (/[/?#]/.test(rest!)) return `${quoted} has a path; an origin ends after the host and port`;
  if (rest!.includes('@')) return `${quoted} has a user name; an origin has none`;
  const isWildcard = rest!.startsWith(WILDCARD);
  const host = isWildcard ? rest!.slice(WILDCARD.length) : rest!;
  if (host.includes('*')) {
    return `${quoted}: a wildcard stands for subdomains only, as in https://*.app.example`;
  }
  const parsed = parseOrigin(`${scheme}://${host}`);
  if (parsed === undefined) {
    return `${quoted} is not an origin; expected scheme, host and optionally a port from 1 to 65535`;
  }
  if (isWildcard && !hasSubdomains(parsed)) {
    return `${quoted}: a wildcard needs a domain name after it, as in https://*.app.example`;
  }
  return undefined;
}

function hasSubdomains({ scheme, host }: Origin): boolean {
  return scheme in DEFAULT_PORTS && !host.startsWith('[') && !/^[\d.]*$/.test(host);
}

/** The origins whose pages may connect and read responses. */
export class AllowedOrigins {
  /** Every origin is allowed. */
  readonly isAny: boolean;
  readonly #exact: ReadonlySet<string>;
  readonly #wildcards: readonly Origin[];

  /**
   * @param entries each without `originProblem`
   * @param allowsApps whether origins are allowed that no page on the web has
   */
  constructor(
    entries: readonly string[],
    readonly allowsApps: boolean,
  ) {
    this.isAny = entries.includes('*');
    const isWildcard = (entry: string) => entry.includes(`://${WILDCARD}`);
    this.#exact = new Set(
      entries.filter((entry) => !isWildcard(entry)).map((entry) => canonical(entry)),
    );
    this.#wildcards = entries
      .filter(isWildcard)
      .map((entry) => parseOrigin(entry.replace(`://${WILDCARD}`, '://'))!);
  }

  /** Whether no origin is allowed. */
  get isNone(): boolean {
    return this.#exact.size === 0 && this.#wildcards.length === 0 && !this.allowsApps;
  }

  /** @param origin value of an Origin header */
  allows(origin: string): boolean {
    if (this.isAny) return true;
    if (this.allowsApps && !WEB_PAGE.test(origin)) return true;
    if (!VISIBLE_ASCII.test(origin)) return false;
    if (this.#exact.has(canonical(origin))) return true;
    const parsed = parseOrigin(origin);
    return (
      parsed !== undefined &&
      this.#wildcards.some(
        ({ scheme, host, port }) =>
          parsed.scheme === scheme &&
          parsed.port === port &&
          parsed.host.endsWith(`.${host}`) &&
          !parsed.host.startsWith('.'),
      )
    );
  }
}

/** Text that is not an origin, such as `null`, stays as it is. */
function canonical(text: string): string {
  const parsed = parseOrigin(text);
  return parsed === undefined ? text : originText(parsed);
}
