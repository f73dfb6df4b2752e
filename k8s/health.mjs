/**
 * Health check of the role in this container, for HEALTHCHECK: exits 0 if /healthz answers on one
 * of the HTTP ports of the roles.
 */
const { env } = process;
const ports = [
  env.LONGLINE_EDGE_ADMIN_PORT || 7001,
  env.LONGLINE_ROUTER_HTTP_PORT || 7100,
  env.LONGLINE_CONTROL_HTTP_PORT || 7200,
  env.LONGLINE_CANARY_HTTP_PORT || 7300,
];
const host = (env.LONGLINE_HOST || '::').replace(/^\[|\]$/g, '');
const isAny = host === '::' || host === '0.0.0.0';
const authority = isAny ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;

try {
  await Promise.any(
    ports.map(async (port) => {
      const answer = await fetch(`http://${authority}:${port}/healthz`, {
        signal: AbortSignal.timeout(3_000),
      });
      if (!answer.ok) throw new Error(`port ${port} answered ${answer.status}`);
    }),
  );
} catch ({ errors }) {
  console.error(errors.map(({ cause, message }) => cause?.message ?? message).join('; '));
  process.exitCode = 1;
}
