/** A command cannot be carried out. The message is one line; the CLI exits with status 2. */
export class Failure extends Error {}
