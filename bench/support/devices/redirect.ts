/** Where a device connects. The hosts of all URLs are this machine. */
export interface Target {
  readonly port: number;
  /** Path and query. */
  readonly path: string;
}

export function targetOf(url: string): Target {
  const { port, pathname, search } = new URL(url);
  return { port: Number(port), path: pathname + search };
}

/** The target of a redirect; undefined for any other response, or an incomplete one. */
export function redirectOf(response: string): Target | undefined {
  const location = /^HTTP\/1\.1 307 [\s\S]*?\r\nlocation: (.*)\r\n/i.exec(response)?.[1];
  return location === undefined ? undefined : targetOf(location);
}
