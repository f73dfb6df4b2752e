/** Ports and settings of the roles of a local cluster. */
import { isIPv4, isIPv6 } from 'node:net';
import { platform } from 'node:process';
import { ANY_HOST, ANY_IPV4_HOST } from '../../common/net/any-host.js';
import { joinHostPort, withoutBrackets } from '../../common/net/host-port.js';
import { LOOPBACK, LOOPBACK_IPV6 } from './ports.js';

export type RoleName = 'control' | 'router' | 'edge';

/** Listening ports by purpose. Every role has HTTP for operators and probes. */
export type Ports = Readonly<Record<string, number>> & { readonly http: number };

/**
 * Documented ports of the i-th process of a role, from 0: edges take the next port each, controls
 * the next two, routers the next four.
 */
export const DEFAULT_PORTS: Readonly<Record<RoleName, (i: number) => Ports>> = {
  control: (i) => ({ http: 7200 + 2 * i, grpc: 7201 + 2 * i }),
  router: (i) => ({
    http: 7100 + 4 * i,
    grpc: 7101 + 4 * i,
    front: 7102 + 4 * i,
    pushHttp: 7103 + 4 * i,
  }),
  edge: (i) => ({ devices: 7010 + i, http: 7060 + i }),
};

/**
 * Options of Node.js. Pushes in flight outlive a young generation of the default size, and a router
 * then spends a third of its time copying them. An edge keeps next to nothing of what it allocates
 * for a push: there, a larger one only costs memory. That of control would grow to 134 MB while a
 * thousand edges connect (docs/decisions/0009-young-generation.md).
 */
export const NODE_OPTIONS: Readonly<Record<RoleName, readonly string[]>> = {
  control: ['--max-semi-space-size=16'],
  router: ['--max-semi-space-size=32'],
  edge: ['--max-semi-space-size=4'],
};

export interface RoleEnvironment {
  readonly name: string;
  readonly role: RoleName;
  readonly ports: Ports;
  readonly redisUrl: string;
  /** `host:port` of every control's gRPC. */
  readonly controlAddresses: readonly string[];
  /** Settings of the caller, on top of this process' environment. */
  readonly env: NodeJS.ProcessEnv;
}

/** How processes of this machine reach the roles. */
interface LocalAddresses {
  /** Host in URLs and `host:port`. */
  readonly name: string;
  readonly loopback: string;
  /**
   * Source address of the routers' front proxies. Edges trust the PROXY header of this address and
   * of no other on this machine.
   */
  readonly frontSource: string;
}

/** Outside Linux, 127.0.0.1 is the only address of 127.0.0.0/8; ::1 has no neighbours anywhere. */
const IPV4: LocalAddresses = {
  name: 'localhost',
  loopback: LOOPBACK,
  frontSource: platform === 'linux' ? '127.0.0.2' : LOOPBACK,
};
const IPV6: LocalAddresses = {
  name: LOOPBACK_IPV6,
  loopback: LOOPBACK_IPV6,
  frontSource: LOOPBACK_IPV6,
};

/** @param env settings on top of this process' environment */
export function localAddresses(env: NodeJS.ProcessEnv): LocalAddresses {
  const host = withoutBrackets({ ...process.env, ...env }.LONGLINE_HOST ?? '');
  if (isIPv6(host) && host !== ANY_HOST) return IPV6;
  const isOwn = isIPv4(host) && host !== ANY_IPV4_HOST && !host.startsWith('127.');
  return isOwn ? { name: host, loopback: host, frontSource: host } : IPV4;
}

/** Environment variables of a role. */
export function roleEnvironment({
  name,
  role,
  ports,
  redisUrl,
  controlAddresses,
  env,
}: RoleEnvironment): NodeJS.ProcessEnv {
  const addresses = localAddresses(env);
  const shared: NodeJS.ProcessEnv = {
    LONGLINE_AUTH: 'none',
    LONGLINE_HOST: LOOPBACK,
    LONGLINE_CORS_ORIGINS: '*',
    ...process.env,
    ...env,
    LONGLINE_REDIS_URL: redisUrl,
  };
  if (role === 'control') {
    return {
      ...shared,
      LONGLINE_CONTROL_ID: name,
      LONGLINE_CONTROL_HTTP_PORT: `${ports.http}`,
      LONGLINE_CONTROL_GRPC_PORT: `${ports.grpc}`,
      LONGLINE_CONTROL_ADVERTISED_URL: `http://${joinHostPort(addresses.name, ports.http)}`,
    };
  }
  const LONGLINE_CONTROL_ADDRESS = controlAddresses.join(',');
  if (role === 'router') {
    return {
      ...shared,
      LONGLINE_CONTROL_ADDRESS,
      LONGLINE_ROUTER_ID: name,
      LONGLINE_ROUTER_HTTP_PORT: `${ports.http}`,
      LONGLINE_ROUTER_GRPC_PORT: `${ports.grpc}`,
      LONGLINE_ROUTER_FRONT_PORT: `${ports.front}`,
      LONGLINE_ROUTER_PUSH_HTTP_PORT: `${ports.pushHttp}`,
      LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES: addresses.frontSource,
    };
  }
  return {
    ...shared,
    LONGLINE_CONTROL_ADDRESS,
    LONGLINE_EDGE_ID: name,
    LONGLINE_EDGE_PORT: `${ports.devices}`,
    LONGLINE_EDGE_ADMIN_PORT: `${ports.http}`,
    LONGLINE_EDGE_ADVERTISED_URL: edgeUrl(ports, env),
    ...frontSettings(ports, addresses, shared.LONGLINE_PROXY_NETWORKS),
  };
}

/** Address of an edge for devices. */
export function edgeUrl(ports: Ports, env: NodeJS.ProcessEnv): string {
  const address = joinHostPort(localAddresses(env).name, ports.devices!);
  return `${schemeOf(env, 'LONGLINE_EDGE_TLS_CERT_FILE')}://${address}`;
}

/** Scheme of the front proxy of a router. */
export function frontScheme(env: NodeJS.ProcessEnv): string {
  return schemeOf(env, 'LONGLINE_ROUTER_FRONT_TLS_CERT_FILE');
}

/** @param setting the certificate */
function schemeOf(env: NodeJS.ProcessEnv, setting: string): string {
  return { ...process.env, ...env }[setting] ? 'https' : 'http';
}

function frontSettings(
  ports: Ports,
  { loopback, frontSource }: LocalAddresses,
  proxyNetworks: string | undefined,
): NodeJS.ProcessEnv {
  return {
    LONGLINE_EDGE_FRONT_ADDRESS: joinHostPort(loopback, ports.devices!),
    LONGLINE_PROXY_NETWORKS: [proxyNetworks, frontSource].filter(Boolean).join(','),
  };
}
