#!/usr/bin/env node
/**
 * The `longline` command. It uses only the public HTTP and gRPC APIs of a cluster. Exit statuses: 0
 * success, 1 a negative result (a push that was not written, a drain that was cancelled), 2 the
 * command could not be carried out.
 */
import { Command, Option } from 'commander';
import { buildInfo, describeBuild } from '../common/process/build-info.js';
import { wholeNumber } from './commands/arguments.js';
import { addClientCommands } from './commands/client-commands.js';
import { addControlCommands } from './commands/control-commands.js';
import { addRouterCommands } from './commands/router-commands.js';
import { Failure } from './terminal/failure.js';

const EXIT_FAILURE = 2;

const program = new Command('longline')
  .description('A push cluster for long connections')
  .version(
    describeBuild(buildInfo),
    '--version',
    'print the version, the commit and the release of Node.js',
  )
  .showHelpAfterError('(see longline --help)')
  // Set before the commands, which inherit it: commander's status 1 has another meaning here.
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_FAILURE));

program
  .command('dev')
  .description('run a whole cluster on this machine: Redis, control, router and edges')
  .option('--edges <count>', 'number of edges', wholeNumber(1, 50), 3)
  .option('--no-restart', 'do not restart a role that exits')
  .action(async (options) => (await import('./local/dev.js')).dev(options));

addRouterCommands(program);
addControlCommands(program);
addClientCommands(program);

program
  .command('doctor')
  .description(
    'show which limits of this machine are too low for many connections, and how to raise them',
  )
  .option(
    '--connections <count>',
    'number of connections to check for',
    wholeNumber(1, 10_000_000),
    100_000,
  )
  .option('--redis <url>', 'Redis to check as well', process.env.LONGLINE_REDIS_URL)
  .option('--json', 'print JSON')
  .action(async (options) => {
    process.exitCode = await (await import('./doctor/doctor.js')).doctor(options);
  });

program
  .command('drill')
  .description('inject faults into a private cluster and report lost, duplicate and late pushes')
  .option('--seconds <count>', 'duration of the faults', wholeNumber(1, 86_400), 60)
  .option(
    '--seed <number>',
    'seed of the fault schedule; random by default',
    wholeNumber(0, 2 ** 32 - 1),
  )
  .option('--clients <count>', 'number of devices', wholeNumber(1, 20_000), 1_500)
  .option('--rate <count>', 'pushes per second', wholeNumber(1, 10_000), 300)
  .addOption(
    new Option(
      '--redis <kind>',
      'kind of Redis; standalone by default, or as the chosen faults need it',
    ).choices(['standalone', 'cluster']),
  )
  .option('--network', 'also partition the network and damage its packets (root, Linux)')
  .option('--clocks', 'also step the clocks of the roles and of Redis, and let them drift')
  .option('--redis-faults', 'also lose power, fill the disk, evict, fail over and restore backups')
  .option('--memory', 'also give roles too little memory (root, Linux)')
  .option('--only <kinds>', 'only these faults, such as killEdge,cut; or none')
  .option('--mutants', 'plant bugs and check that the drill detects each')
  .option('--verbose', 'print warnings of the processes')
  .option('--json', 'print JSON')
  .action(async (options) => {
    process.exitCode = await (await import('../drill/drill.js')).drill(options);
  });

for (const role of ['edge', 'router', 'control', 'canary']) {
  program
    .command(role)
    .description(`run one ${role}, configured by environment variables`)
    .action(async () => {
      await import(`../${role}/main.js`);
    });
}

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`longline: ${error.message}`);
  process.exitCode = EXIT_FAILURE;
}
