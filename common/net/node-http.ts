/**
 * `node:http` without its rarely used parts. `import` reads every export of a module of Node.js,
 * and so loads what Node.js 24 would load only when it is used: the client for `fetch` and
 * WebSockets, some 2 MB. `require` does not.
 */
import { createRequire } from 'node:module';

const http: typeof import('node:http') = createRequire(import.meta.url)('node:http');

export const { Agent, createServer, request, STATUS_CODES } = http;
