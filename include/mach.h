/* The part of Mach that a program with pagers of its own needs: types, constants, memory, ports.

   There is one task, this process, and the only memory objects are its pagers.  */

#ifndef ACTOR_PAGER_MACH_H
#define ACTOR_PAGER_MACH_H

#include <stddef.h>
#include <stdint.h>

#include <mach/kern_return.h>
#include <mach/memory_object.h>
#include <mach/port.h>
#include <mach/vm_inherit.h>
#include <mach/vm_prot.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes in a page.  */
extern vm_size_t vm_page_size;

#define trunc_page(address) ((vm_offset_t) (address) & ~((vm_offset_t) vm_page_size - 1))
#define round_page(address) trunc_page ((vm_offset_t) (address) + vm_page_size - 1)

/* This process.  */
mach_port_t mach_task_self (void);

/* Map SIZE bytes of MEMORY_OBJECT from OFFSET on, or zeros where that is MACH_PORT_NULL, and store
   where in *ADDRESS.  With COPY, the mapping is a copy of its own, taken now.  A place of the
   caller's choosing (ANYWHERE 0) is to be had for zeros only.  */
kern_return_t vm_map (mach_port_t target_task, vm_address_t *address, vm_size_t size,
                      vm_address_t mask, boolean_t anywhere,
                      mach_port_t memory_object, vm_offset_t offset, boolean_t copy,
                      vm_prot_t cur_protection, vm_prot_t max_protection,
                      vm_inherit_t inheritance);

/* Get SIZE bytes of zeros.  */
kern_return_t vm_allocate (mach_port_t target_task, vm_address_t *address, vm_size_t size,
                           boolean_t anywhere);

/* Unmap SIZE bytes at ADDRESS, whatever is there: mappings of pagers, whole or in part, memory of
   vm_allocate or mmap, buffers that a callback was lent.  */
kern_return_t vm_deallocate (mach_port_t target_task, vm_address_t address, vm_size_t size);

/* Make a send right to a pager's port (MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_COPY_SEND), under
   the port's own name.  */
kern_return_t mach_port_insert_right (mach_port_t task, mach_port_t name, mach_port_t poly,
                                      mach_msg_type_name_t poly_poly);

/* Add DELTA to the send rights of a pager's port.  */
kern_return_t mach_port_mod_refs (mach_port_t task, mach_port_t name, mach_port_right_t right,
                                  mach_port_delta_t delta);

/* Give up one send right.  When there is none left, no mapping and no reference, the pager ends.  */
kern_return_t mach_port_deallocate (mach_port_t task, mach_port_t name);

#ifdef __cplusplus
}
#endif

#endif
