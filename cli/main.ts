#!/usr/bin/env node
/**
 * The `longline` command. It talks to a cluster through the public HTTP and gRPC APIs only. Exit
 * statuses: 0 it is so, 1 it is not (a push that was not written, a drain that was taken back), 2 it
 * could not be asked.
 */
import { Command, Option } from 'commander';
import { faultKinds, wholeNumber } from './commands/arguments.js';
import { addControlCommands } from './commands/control-commands.js';
import { Failure } from './failure.js';

const EXIT_COULD_NOT = 2;

const program = new Command('longline')
  .description('A push cluster for long connections')
  .showHelpAfterError('(see longline --help)')
  // Also for the commands, which inherit it when they are made: 1 means something else here.
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_COULD_NOT));

program
  .command('dev')
  .description('run a whole cluster on this machine: Redis, control, router, edges')
  .option('--edges <count>', 'how many edges', wholeNumber(1, 50), 3)
  .option('--no-restart', 'leave a role that dies dead')
  .action(async (options) => (await import('./local/dev.js')).dev(options));

program
  .command('push')
  .description('push a payload to a client and print what became of it')
  .argument('<clientId>')
  .argument('<payload>', 'text, or - for standard input')
  .option('--router <host:port>', "a router's gRPC address", 'localhost:7101')
  .option('--wait <ms>', 'how long to wait for the verdict', wholeNumber(1, 60_000))
  .option(
    '--ttl <ms>',
    'how long it is kept for a client that is away; 0: live only',
    wholeNumber(0, 2 ** 32 - 1),
  )
  .option('--content-type <type>', 'what the payload is, such as application/json')
  .option('--idempotency-key <key>', 'pushed again with the same key, it is stored once')
  .option('--token <token>', 'where the router asks for one; better in LONGLINE_TOKEN')
  .option('--ca <file>', "the authority of the router's certificate: reach it by TLS")
  .option('--cert <file>', 'a certificate to show the router')
  .option('--key <file>', 'the key of the certificate')
  .option('--json', 'print JSON')
  .action(async (clientId, payload, options) => {
    process.exitCode = await (await import('./commands/push.js')).push(clientId, payload, options);
  });

addControlCommands(program);

program
  .command('doctor')
  .description('show what stops this machine from holding many connections, and what to set')
  .option('--connections <count>', 'how many it is to hold', wholeNumber(1, 10_000_000), 100_000)
  .option('--redis <url>', 'a Redis to look at, too', process.env.LONGLINE_REDIS_URL)
  .option('--json', 'print JSON')
  .action(async (options) => {
    process.exitCode = await (await import('./doctor/doctor.js')).doctor(options);
  });

program
  .command('drill')
  .description('break a private cluster on purpose, and report what was lost, doubled or late')
  .option('--seconds <count>', 'how long things break', wholeNumber(1, 86_400), 60)
  .option('--seed <number>', 'which faults, when; any by default', wholeNumber(0, 2 ** 32 - 1))
  .option('--clients <count>', 'how many devices', wholeNumber(1, 20_000), 1_500)
  .option('--rate <count>', 'pushes per second', wholeNumber(1, 10_000), 300)
  .addOption(
    new Option('--redis <kind>', 'what to store in')
      .choices(['standalone', 'cluster'])
      .default('standalone'),
  )
  .option('--only <kinds>', 'break nothing else, such as killEdge,cut; or none', faultKinds)
  .option('--mutants', 'plant bugs, and see that each is caught')
  .option('--verbose', 'say what the processes warn about')
  .option('--json', 'print JSON')
  .action(async (options) => {
    process.exitCode = await (await import('../drill/drill.js')).drill(options);
  });

for (const role of ['edge', 'router', 'control']) {
  program
    .command(role)
    .description(`run one ${role}, with settings from the environment`)
    .action(async () => {
      await import(`../${role}/main.js`);
    });
}

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`longline: ${error.message}`);
  process.exitCode = EXIT_COULD_NOT;
}
