"""Somebody at a browser: opens an address, logs in at the form that it comes to, and follows what the
pages say until one says nothing more. Prints that page."""

import html.parser
import sys
import urllib.parse

import requests


class Form(html.parser.HTMLParser):
    """The first form of a page, and where the page goes on by itself."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields, self.next, self.link = None, {}, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        it = dict(attributes)
        if tag == "form" and self.action is None:
            self.action = it.get("action", "")
        if tag == "input" and it.get("name") and it.get("type") != "submit":
            self.fields[it["name"]] = it.get("value") or ""
        if tag == "a":
            self.link = it.get("href")
        if tag == "meta" and it.get("http-equiv") == "refresh":
            self.next = it["content"].split("url=", 1)[1]


address, user, password = sys.argv[1:4]
browser = requests.Session()
page = browser.get(address, timeout=30)
for _ in range(10):
    form = Form(page.text)
    if form.next:
        page = browser.get(urllib.parse.urljoin(page.url, form.next), timeout=30)
    elif form.action is not None:
        if "username" in form.fields:
            form.fields.update(username=user, password=password)
        page = browser.post(urllib.parse.urljoin(page.url, form.action), form.fields, timeout=30)
    elif form.link and urllib.parse.urlparse(page.url).path == "/saml/done":
        page = browser.get(form.link, timeout=30)
    else:
        break
print(page.status_code, page.url)
print(page.text)
