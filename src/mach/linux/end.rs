//! What an object leaves behind when its pager drops it.

use super::object::LinuxObject;

impl Drop for LinuxObject {
    fn drop(&mut self) {
        if self.memory.is_shared()
            && let Err(error) = self.spaces.cover_own()
        {
            tracing::error!(object = %self.share.name, %error, "mappings outlive their pager");
        }
        // The memory keeps the descriptors until it has been cut to nothing: no thread reads zeros.
        for uffd in self.spaces.descriptors() {
            self.memory.guard(uffd.clone());
        }
        self.host.adopt(&mut self.spaces, None);
        self.orphan_copies();
        self.host.budget.leave(&self.share);
    }
}
