/** Edges and front proxies run on `node:net`, as on a machine without the native transport. */
process.env.LONGLINE_TRANSPORT = 'net';
