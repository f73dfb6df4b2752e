/** Asks for a token, which becomes a session. */
import { useState } from 'preact/hooks';
import { type ApiError, call } from '../api.js';
import { Note } from '../parts.js';

export function SignIn({ onDone, isAgain }: { onDone: () => void; isAgain: boolean }) {
  const [error, setError] = useState<ApiError>();
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get('token');
    try {
      await call('session', { token });
      onDone();
    } catch (failure) {
      setError(failure as ApiError);
    }
  };
  return (
    <main class="sign-in">
      <form class="card" onSubmit={send}>
        <h1>Longline</h1>
        {isAgain && (
          <Note level="warn">
            Your session has ended. What you started goes on; sign in to watch it.
          </Note>
        )}
        <label>
          Token of an operator or a viewer
          <input
            name="token"
            type="password"
            required
            autocomplete="current-password"
            // biome-ignore lint/a11y/noAutofocus: it is the only field of the page.
            autoFocus
          />
        </label>
        {error && <Note level="bad">{error.message}</Note>}
        <button type="submit" class="solid">
          Sign in
        </button>
        <p class="hint">
          Control has it from LONGLINE_CONTROL_OPERATOR_TOKENS or LONGLINE_CONTROL_VIEWER_TOKENS.
          This browser keeps a session for 12 hours, not the token.
        </p>
      </form>
    </main>
  );
}
