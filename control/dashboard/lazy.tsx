/**
 * Parts of a long view, which are drawn while they are near what is in sight: a thousand cards,
 * drawn every other second, would take a third of the page's time. Parts that are out of sight
 * keep what they showed last, so that the search of the browser finds their text. A style makes the
 * browser skip them, and an event names those that it skips.
 */
import { Component, type ComponentChildren, createRef } from 'preact';

/** Other browsers draw all of them. */
const SAYS_WHICH = 'ContentVisibilityAutoStateChangeEvent' in globalThis;

const HEIGHT = '--lazy-height';

interface LazyProps {
  /** Instead of `children` until it comes near for the first time. */
  readonly brief: () => ComponentChildren;
  readonly children: () => ComponentChildren;
}

interface LazyState {
  readonly isNear: boolean;
  readonly wasNear: boolean;
}

export class Lazy extends Component<LazyProps, LazyState> {
  override state: LazyState = { isNear: !SAYS_WHICH, wasNear: !SAYS_WHICH };
  readonly #element = createRef<HTMLDivElement>();

  override componentDidMount(): void {
    this.#element.current!.addEventListener('contentvisibilityautostatechange', (event) => {
      const isNear = !(event as ContentVisibilityAutoStateChangeEvent).skipped;
      this.setState(({ wasNear }) => ({ isNear, wasNear: wasNear || isNear }));
    });
  }

  /**
   * The others are taken to be as high as the first one: else the view would jump as they are
   * drawn.
   */
  override componentDidUpdate(): void {
    const element = this.#element.current!;
    const { style } = element.parentElement!;
    if (style.getPropertyValue(HEIGHT) === '')
      style.setProperty(HEIGHT, `${element.offsetHeight}px`);
  }

  override shouldComponentUpdate(_: LazyProps, { isNear }: LazyState): boolean {
    return isNear;
  }

  override render() {
    const { brief, children } = this.props;
    const { wasNear } = this.state;
    return (
      <div class={wasNear ? 'lazy' : 'lazy brief'} ref={this.#element}>
        {wasNear ? children() : brief()}
      </div>
    );
  }
}
