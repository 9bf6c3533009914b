// A browser for tests: follows redirects, keeps cookies, and fills in the provider's forms.
// Arguments: what to do, and where to begin. `agree` logs in as anna and agrees to everything, `deny`
// takes the way out, `forge` lets somebody else's page answer first and agrees then. Prints what the
// last page says.

const [how, begin] = process.argv.slice(2);
const cookies = new Map();

async function visit(url, options = {}) {
  const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') };
  const response = await fetch(url, { redirect: 'manual', ...options, headers });
  for (const cookie of response.headers.getSetCookie()) {
    const [name, ...value] = cookie.split(';')[0].split('=');
    cookies.set(name, value.join('='));
  }
  const location = response.headers.get('location');
  // A page that is submitted leads on by GET.
  if (location) return visit(new URL(location, url).href);
  return { url, text: await response.text() };
}

const text = (html) => html.replaceAll('&amp;', '&').replaceAll('&#39;', "'").replaceAll('&quot;', '"');
const attribute = (tag, name) => tag.match(new RegExp(`${name}="([^"]*)"`))?.[1];

async function submit(page) {
  const form = page.text.match(/<form[^>]*>/)[0];
  const body = new URLSearchParams();
  for (const [input] of page.text.matchAll(/<input[^>]*>/g)) {
    const [name, value] = [attribute(input, 'name'), attribute(input, 'value') ?? ''];
    body.set(name, { login: 'anna', password: 'x' }[name] ?? text(value));
  }
  if (how === 'deny' && page.text.includes('name="abort"')) body.set('abort', 'yes');
  return visit(new URL(text(attribute(form, 'action')), page.url).href, { method: 'POST', body });
}

if (how === 'forge') {
  const back = new URL(begin).searchParams.get('redirect_uri');
  for (const query of ['code=x', 'code=x&state=y', 'error=access_denied&state=']) {
    await fetch(`${back}?${query}`);
  }
}
let page = await visit(begin);
let denied = false;
while (page.text.includes('<form') && !denied) {
  const cancel = page.text.match(/<a href="([^"]*)">\[ Cancel \]/)?.[1];
  denied = how === 'deny' && (cancel || page.text.includes('name="abort"'));
  page = denied && cancel ? await visit(new URL(text(cancel), page.url).href) : await submit(page);
}
console.log(page.text);
