/** The commands that call a router. */
import { type Command, Option } from 'commander';
import { acceptLevel, duration, hostPort, optionFromEnv, wholeNumber } from './arguments.js';

const UINT32_MAX = 2 ** 32 - 1;

export function addRouterCommands(program: Command): void {
  addPush(program);

  withRouter(program.command('broadcast'))
    .description('send a payload to every client that is connected now, and print the counts')
    .argument('<payload>', 'text, or - to read standard input')
    .requiredOption('--rate <count>', 'clients per second', wholeNumber(1, UINT32_MAX))
    .option('--deadline <duration>', 'such as 5m: stop then, with the counts so far', duration)
    .option('--content-type <type>', 'content type of the payload, such as application/json')
    .action(async (payload, options) => {
      const { broadcast } = await import('./router/broadcast.js');
      process.exitCode = await broadcast(payload, options);
    });

  withRouter(program.command('presence'))
    .description('show where a client is connected')
    .argument('<clientId>')
    .action(async (clientId, options) => {
      const { presence } = await import('./router/clients.js');
      process.exitCode = await presence(clientId, options);
    });

  withRouter(program.command('disconnect'))
    .description('close the connection of a client')
    .argument('<clientId>')
    .action(async (clientId, options) => {
      const { disconnect } = await import('./router/clients.js');
      process.exitCode = await disconnect(clientId, options);
    });
}

function addPush(program: Command): void {
  withRouter(program.command('push'))
    .description('push a payload to a client and print the verdict')
    .argument('<clientId>')
    .argument('<payload>', 'text, or - to read standard input')
    .option('--wait <ms>', 'maximum time to wait for the verdict', wholeNumber(1, 60_000))
    .addOption(
      new Option('--wait-for <event>', 'event to wait for; the exit status is 0 if it happened')
        .choices(['written', 'stored', 'acked'])
        .default('written'),
    )
    .option(
      '--accept-level <level>',
      'accepted, fsynced or replicated:<n>; by default as the router is configured',
      acceptLevel,
    )
    .option(
      '--ttl <ms>',
      'time that the push is stored for a client that is offline; 0: live only',
      wholeNumber(0, UINT32_MAX),
    )
    .option('--content-type <type>', 'content type of the payload, such as application/json')
    .option('--idempotency-key <key>', 'pushes with the same key are stored once')
    .action(async (clientId, payload, options) => {
      const { push } = await import('./router/push.js');
      process.exitCode = await push(clientId, payload, options);
    });
}

/** Adds the options of every command that calls a router. */
function withRouter(command: Command): Command {
  return command
    .addOption(
      optionFromEnv(
        new Option('--router <host:port>', 'gRPC address of a router')
          .default('localhost:7101')
          .argParser(hostPort),
        'LONGLINE_ROUTER',
      ),
    )
    .option('--token <token>', 'token for the router; prefer LONGLINE_TOKEN')
    .option('--ca <file>', "CA of the router's certificate (PEM); enables TLS")
    .option('--cert <file>', 'client certificate (PEM)')
    .option('--key <file>', 'key of the client certificate (PEM)')
    .option('--json', 'print JSON');
}
