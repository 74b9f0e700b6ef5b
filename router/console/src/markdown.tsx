// Markdown as elements, never as markup: what looks like HTML is shown as it was written, and nothing is loaded.
import { lexer, type Token, type Tokens } from "marked";
import { Component, type ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Coloured } from "./highlight";
import { visible } from "./text";
import { Copy } from "./ui";

const MOST_READ = 60_000; // longer texts are shown as they are: reading them as markdown could hold up the page
const MOST_SHOWN = 100_000;
const LONGEST_LINE = 5_000;
const DEEPEST = 60;
// Emphasis and links are looked for from each mark through all of its block: marks times characters is what it takes.
const MOST_WORK = 600_000;
const BLOCKS = /\n[ \t]*\n|\n(?=[ \t]*(?:[-*+]|1[.)]|#{1,6})[ \t])/;
const MARKS = /[*_~[\]`<!&]|https?:|www\./g;

export function Plain({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= MOST_SHOWN ? text : text.slice(0, MOST_SHOWN);
  return (
    <>
      <div class="plain-text">{visible(shown)}</div>
      {shown.length < text.length ? (
        <button type="button" class="small" onClick={() => setWhole(true)}>
          Show all {text.length.toLocaleString("en")} characters
        </button>
      ) : null}
    </>
  );
}

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => read(text), [text]);
  if (tokens === null) return <Plain text={text} />;
  return (
    <Boundary of={text} instead={<Plain text={text} />}>
      <Read tokens={tokens} />
    </Boundary>
  );
}

interface Bounds {
  of: string;
  instead: ComponentChildren;
  children: ComponentChildren;
}

/** Shows *instead* of what is in it where that cannot be drawn, until it is of something else. */
export class Boundary extends Component<Bounds, { broken: string | null }> {
  override state = { broken: null };

  override componentDidCatch(): void {
    this.setState({ broken: this.props.of });
  }

  override render(): ComponentChildren {
    return this.state.broken === this.props.of ? this.props.instead : this.props.children;
  }
}

function Read({ tokens }: { tokens: Token[] }) {
  return <div class="md">{blocks(tokens, Math.min(...tokens.map((one) => (one.type === "heading" ? (one as Tokens.Heading).depth : 9))))}</div>;
}

function read(text: string): Token[] | null {
  if (text.length > MOST_READ) return null;
  let line = 0;
  for (const part of text.split("\n")) line = Math.max(line, part.length);
  if (line > LONGEST_LINE) return null;
  let work = 0;
  for (const block of text.split(BLOCKS)) work += (block.match(MARKS)?.length ?? 0) * block.length;
  if (work > MOST_WORK) return null;
  try {
    const tokens = lexer(text, { gfm: true, breaks: true });
    return isDeeper(tokens, DEEPEST) ? null : tokens;
  } catch {
    return null;
  }
}

function isDeeper(tokens: Token[], levels: number): boolean {
  if (levels === 0) return tokens.length > 0;
  return tokens.some((token) => {
    const inner = (token as { tokens?: Token[] }).tokens ?? [];
    const items = token.type === "list" ? (token as Tokens.List).items : [];
    return isDeeper(inner, levels - 1) || isDeeper(items, levels - 1);
  });
}

function blocks(tokens: Token[], highest = 1): ComponentChildren {
  return tokens.map((token, at) => <Block key={at} of={token} highest={highest} />);
}

function Block({ of, highest }: { of: Token; highest: number }): ComponentChildren {
  switch (of.type) {
    case "space":
      return null;
    case "heading": {
      const { depth, tokens } = of as Tokens.Heading;
      const Level = `h${Math.min(6, depth - highest + 2)}` as "h2" | "h3" | "h4"; // the highest is below the page's own
      return <Level>{spans(tokens)}</Level>;
    }
    case "paragraph":
      return <p>{spans((of as Tokens.Paragraph).tokens)}</p>;
    case "code": {
      const { text, lang } = of as Tokens.Code;
      return (
        <div class="block">
          <pre tabIndex={0} aria-label={lang ? `Code, ${visible(lang)}` : "Code"}>
            <Coloured text={visible(text)} said={lang ?? ""} />
          </pre>
          <Copy text={text} />
        </div>
      );
    }
    case "blockquote":
      return <blockquote>{blocks((of as Tokens.Blockquote).tokens)}</blockquote>;
    case "list": {
      const { ordered, items, start } = of as Tokens.List;
      const inner = items.map((item, at) => <li key={at}>{blocks(item.tokens)}</li>);
      return ordered ? <ol start={typeof start === "number" ? start : 1}>{inner}</ol> : <ul>{inner}</ul>;
    }
    case "table": {
      const { header, rows } = of as Tokens.Table;
      return (
        <div class="wide-table" tabIndex={0} role="region" aria-label="Table of the answer">
          <table>
            <thead>
              <tr>
                {header.map((cell, at) => (
                  <th key={at} scope="col">
                    {spans(cell.tokens)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row, at) => (
                <tr key={at}>
                  {row.map((cell, column) => (
                    <td key={column}>{spans(cell.tokens)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    }
    case "hr":
      return <hr />;
    case "text": {
      const { tokens, text } = of as Tokens.Text;
      return tokens ? <>{spans(tokens)}</> : <>{visible(text)}</>;
    }
    default:
      return <p class="plain-text">{visible(of.raw)}</p>;
  }
}

function spans(tokens: Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map((token, at) => <Span key={at} of={token} />);
}

function Span({ of }: { of: Token }): ComponentChildren {
  switch (of.type) {
    case "strong":
      return <strong>{spans((of as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{spans((of as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{spans((of as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{visible(unescaped((of as Tokens.Codespan).text))}</code>;
    case "br":
      return <br />;
    case "link": {
      const { href, tokens } = of as Tokens.Link;
      const inner = spans(tokens);
      // Where it leads is told: a model's link is nobody's promise.
      return /^https?:\/\//i.test(href) ? (
        <a href={href} rel="noopener noreferrer nofollow" target="_blank" title={href}>
          {inner}
        </a>
      ) : (
        <>{inner}</>
      );
    }
    case "image": {
      const { href, text } = of as Tokens.Image;
      return <>[image: {visible(text || href)}]</>; // not loaded: it would tell others that somebody reads
    }
    case "escape":
      return <>{visible((of as Tokens.Escape).text)}</>;
    case "text": {
      const { tokens, text } = of as Tokens.Text;
      return tokens ? <>{spans(tokens)}</> : <>{visible(unescaped(text))}</>;
    }
    default:
      return <>{visible(of.raw)}</>;
  }
}

const ENTITIES: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };

function unescaped(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (one) => ENTITIES[one] ?? one);
}
