/** Buttons that change the cluster: each shows what it will do, and asks for a reason. */
import { type ComponentChildren, createContext } from 'preact';
import { useContext, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { SessionResponse } from '../operator/http/sessions.js';
import { type ApiError, call } from './api.js';
import { refreshAll } from './live.js';
import { Note } from './parts.js';

export const SessionContext = createContext<SessionResponse>({
  actor: null,
  mayWrite: false,
  mayReadPayloads: false,
  isOpen: false,
});

const NOT_PERMITTED = {
  write: 'Your token can only read.',
  payload: 'LONGLINE_CONTROL_PAYLOAD_READERS does not name your token.',
} as const;

interface ActionProps {
  /** Text of the button. */
  readonly label: string;
  /** Question of the dialog. */
  readonly title: string;
  readonly path: string;
  /** Body of the request, without the reason and other named inputs. */
  readonly body?: object;
  readonly isDangerous?: boolean;
  readonly isDisabled?: boolean;
  /** False: there is no button. A dialog that is open stays, so that it does not vanish unread. */
  readonly isOffered?: boolean;
  /** Permission that the session must have; `write` by default. */
  readonly needs?: 'write' | 'payload';
  /** Takes the answer. */
  readonly onDone?: (answer: unknown) => void;
  /** Description of what the action will do. */
  readonly children: ComponentChildren;
}

export function Action(props: ActionProps) {
  const { label, isDangerous, isDisabled, isOffered = true, needs = 'write' } = props;
  const { mayWrite, mayReadPayloads } = useContext(SessionContext);
  const isPermitted = needs === 'write' ? mayWrite : mayReadPayloads;
  const [isOpen, setOpen] = useState(false);
  if (!isOffered && !isOpen) return null;
  return (
    <>
      {isOffered && (
        <button
          type="button"
          class={isDangerous ? 'danger' : ''}
          disabled={isDisabled || !isPermitted}
          title={isPermitted ? '' : NOT_PERMITTED[needs]}
          onClick={() => setOpen(true)}
        >
          {label}
        </button>
      )}
      {isOpen && <ActionDialog {...props} onClose={() => setOpen(false)} />}
    </>
  );
}

interface ActionDialogProps extends ActionProps {
  readonly onClose: () => void;
}

function ActionDialog({
  label,
  title,
  path,
  body,
  isDangerous,
  isOffered = true,
  onDone,
  onClose,
  children,
}: ActionDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  useLayoutEffect(() => dialog.current!.showModal(), []);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.currentTarget as HTMLFormElement));
    setBusy(true);
    try {
      const answer = await call(path, { ...body, ...fields });
      onDone?.(answer);
      dialog.current?.close();
      refreshAll();
    } catch (failure) {
      setError(failure as ApiError);
    }
    setBusy(false);
  };
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <form onSubmit={send}>
        <h2 id={heading}>{title}</h2>
        {children}
        {!isOffered && (
          <Note level="warn">The state has changed since this dialog was opened.</Note>
        )}
        <label>
          Reason, for the event log
          <input name="reason" maxLength={256} autocomplete="off" />
        </label>
        {error && (
          <Note level="bad">
            {error.code} {error.message}
          </Note>
        )}
        <footer>
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" class={isDangerous ? 'danger solid' : 'solid'} disabled={isBusy}>
            {isBusy ? 'Sending…' : label}
          </button>
        </footer>
      </form>
    </dialog>
  );
}
