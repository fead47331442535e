// turbo-rails as a bundler takes it: its module build, which imports @rails/actioncable by itself.

import "@hotwired/turbo-rails";
