/** Tests mirror the sources; `test/cluster` starts real processes and a real Redis. */
const project = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
};

/** The same tests in another environment, which a module sets up. */
const variant = (displayName, setup, paths) => ({
  ...project,
  displayName,
  setupFiles: [`<rootDir>/test/support/variants/${setup}`],
  testMatch: paths.map((path) => `<rootDir>/test/cluster/${path}.test.ts`),
});

const VARIANTS = [
  // Devices must see the same when the portable transport holds their connections.
  variant('portable transport', 'portable-transport.ts', [
    'devices/device-port',
    'moves/drain',
    'moves/placement',
    'pushes/delivery',
    'pushes/many',
  ]),
  // Devices must see the same over TLS: the first bytes, limits and closes of each protocol.
  variant('TLS', 'tls.ts', ['devices/device-port', 'devices/mqtt-port', 'devices/websocket-port']),
];

export default {
  // `.ci/run` sets it: everything in one run keeps all workers busy.
  ...(process.env.TEST_VARIANTS
    ? {
        projects: [project, ...VARIANTS],
        testSequencer: '<rootDir>/test/support/longest-first.mjs',
      }
    : project),
  // Above what several waits of `eventually` take: those report what they have waited for.
  testTimeout: 300_000,
  // Most of the time tests of clusters wait: for leases, drains and deadlines.
  maxWorkers: 5,
};
