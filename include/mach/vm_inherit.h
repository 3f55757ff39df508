/* What a child process gets of a mapping.  */

#ifndef ACTOR_PAGER_MACH_VM_INHERIT_H
#define ACTOR_PAGER_MACH_VM_INHERIT_H

typedef unsigned int vm_inherit_t;

#define VM_INHERIT_SHARE ((vm_inherit_t) 0)
#define VM_INHERIT_COPY ((vm_inherit_t) 1)
#define VM_INHERIT_NONE ((vm_inherit_t) 2)
#define VM_INHERIT_DEFAULT VM_INHERIT_COPY

#endif
