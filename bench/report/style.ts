/**
 * The report page's style sheet. The series' colours are told apart with the usual kinds of colour blindness (after Okabe
 * and Ito, darkened or lightened until they stand out from the paper); paper gets the light ones.
 */
const light = `
  --paper: #ffffff; --ink: #1f2328; --faint: #6e7781; --rule: #d8dee4; --shade: #f6f8fa; --link: #0550ae;
  --on-series: #ffffff;
  --series-0: #005f9e; --series-1: #b34700; --series-2: #007558; --series-3: #a03c7c;
  --series-4: #6b5b00; --series-5: #5a4fcf; --series-6: #a4262c; --series-7: #57606a;
`;
const dark = `
  --paper: #0d1117; --ink: #e6edf3; --faint: #9198a1; --rule: #30363d; --shade: #161b22; --link: #79c0ff;
  --on-series: #0d1117;
  --series-0: #56b4e9; --series-1: #f0a04b; --series-2: #2fc59b; --series-3: #e39ac6;
  --series-4: #e5d44b; --series-5: #a5a0ff; --series-6: #ff8f88; --series-7: #a9b1ba;
`;

export const style = `
:root {${light}}
@media screen and (prefers-color-scheme: dark) { :root {${dark}} }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 1rem 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1rem 0; }
figure { margin: 0; flex: 1 1 24rem; min-width: 0; max-width: 29rem; }
figure.wide { flex-basis: 100%; max-width: 50rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption, .notes { color: var(--faint); font-size: .875rem; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .2rem .6rem; text-align: left; font-weight: normal; border-bottom: 1px solid var(--rule); }
thead th { background: var(--shade); font-weight: 600; vertical-align: bottom; }
tbody th { white-space: nowrap; }
td:not(.number) { min-width: 5rem; }
.number { text-align: right; white-space: nowrap; }
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; }
  nav { display: none; }
  .table { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .1rem .3rem; }
  figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
`;
