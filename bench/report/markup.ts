/** Text as HTML or SVG shows it: what they would read as their own is escaped. */
export function markup(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
