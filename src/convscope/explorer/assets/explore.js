// The page that a server on this machine answers.

import { begin } from "./page.js";
import { fail } from "./tools.js";
import { Http } from "./transport.js";

begin(new Http()).then(() => { document.body.dataset.ready = "yes"; }).catch(fail);
